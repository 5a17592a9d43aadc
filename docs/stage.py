"""Copy the documentation to `build/docs`, with pages, pictures and scripts from elsewhere.

    python docs/stage.py && zensical build    # the site in `site/`; or `zensical serve`

A link that leads out of this folder ends at the page of the site, so the same links work in the
repository and on the site.
"""

import re
import shutil
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "docs"
PAGES = {
    "kernels/README.md": "kernels.md",
    "benchmarks/RESULTS.md": "measured.md",
    "CHANGELOG.md": "changelog.md",
}
OTHERS = {
    "benchmarks/speed_by_width.png": "speed_by_width.png",
    "benchmarks/peak_by_size.png": "peak_by_size.png",
    "benchmarks/small_steps.png": "small_steps.png",
    "examples/spiral.png": "pictures/spiral.png",
}
SCRIPTS = [path for path in ROOT.glob("examples/*") if path.suffix in (".py", ".ipynb")]
OTHERS |= {f"examples/{path.name}": f"scripts/{path.name}" for path in SCRIPTS}
_LINK = re.compile(r"\]\((\.\./[^)#]+)")


def stage(folder):
    """Write the staged folder anew; return its pages."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for source, target in (PAGES | OTHERS).items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, folder / target)
    pages = sorted(folder.rglob("*.md"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_links_inside(text, page.relative_to(folder)), encoding="utf-8")
    return pages


def with_links_inside(text, page):
    """Return the text of a page whose links out of `docs` end at the copies on the site."""
    folder = PurePosixPath("docs", page.as_posix()).parent

    def link(match):
        path = (ROOT / folder / match[1]).resolve().relative_to(ROOT).as_posix()
        target = (PAGES | OTHERS).get(path)
        if target is None:
            return match[0]
        up = "../" * (len(folder.parts) - 1)
        return f"]({up}{target}"

    return _LINK.sub(link, text)


if __name__ == "__main__":
    print(f"staged {len(stage(STAGE))} pages in {STAGE.relative_to(ROOT)}")
