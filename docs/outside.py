"""Pages, pictures and scripts of the site that lie elsewhere in the repository: a hook of MkDocs.

The same links work in the repository and on the site.
"""

import re
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
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


def on_files(files, config):
    """Add them to the files of this folder."""
    for source, target in (PAGES | OTHERS).items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown, page, **_):
    """Let links that lead out of this folder end at the page of the site."""
    folder = PurePosixPath("docs", page.file.src_uri).parent

    def link(match):
        path = (ROOT / folder / match[1]).resolve().relative_to(ROOT).as_posix()
        target = (PAGES | OTHERS).get(path)
        if target is None:
            return match[0]
        up = "../" * (len(folder.parts) - 1)
        return f"]({up}{target}"

    return _LINK.sub(link, markdown)
