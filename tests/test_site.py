"""The documentation as a site, opened in Chromium: pages, links, search and copy buttons.

This needs the extra `docs` and a Chromium that is installed, such as Debian's `chromium`.
"""

import functools
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra docs")

ROOT = Path(__file__).parent.parent
BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
PATH = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(PATH is None, reason="no Chromium is installed")

PAGES = sorted(
    [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")]
    + ["kernels.md", "measured.md", "changelog.md"]
)
# What people look for, and a page that tells about it.
WORDS = {
    "pandas": "training/",
    "Keras": "keras/",
    "AUC": "api/metrics/",
    "Optuna": "optuna/",
    "Jupyter": "training/",
    "embedding": "api/layers/",
}


def address(page):
    """Return the path of a page of Markdown on the site."""
    return page.removesuffix("index.md") if page.endswith("index.md") else page[:-3] + "/"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site outside of the checkout, and serve it; return its folder and address."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "fastnn", "kernels", "benchmarks", "examples"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("mkdocs.yml", "CHANGELOG.md", "README.md"):
        shutil.copyfile(ROOT / name, folder / name)
    spec = importlib.util.spec_from_file_location("stage", ROOT / "docs" / "stage.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.stage(folder / "build" / "docs")
    program = Path(sys.executable).with_name("zensical")
    subprocess.run([program, "build", "--strict"], cwd=folder, check=True, capture_output=True)
    handler = functools.partial(_Quiet, directory=folder / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder / "site", f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as machine:
        chromium = machine.chromium.launch(executable_path=PATH)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(site, browser, request):
    """Return (function that opens a path at a width, list of what went wrong)."""
    contexts, faults = [], []

    def opened(path, width, scheme="light", wait_until="load"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site[1])
        page = context.new_page()
        page.on("console", lambda each: faults.append(each.text) if each.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda each: faults.append(f"failed: {each.url}"))
        page.on(
            "response",
            lambda each: faults.append(f"{each.status}: {each.url}") if each.status > 399 else None,
        )
        page.goto(site[1] + path, wait_until=wait_until)
        return page

    yield opened, faults
    for context in contexts:
        context.close()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_without_an_error(open_page, page):
    opened, faults = open_page
    shown = opened(address(page), 400)
    assert shown.locator("h1").count() == 1
    empty = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert shown.evaluate(empty) == []
    for width in (400, 1300):
        shown.set_viewport_size({"width": width, "height": 800})
        # Wide tables and code scroll inside of the page.
        sizes = shown.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert sizes[0] <= sizes[1] == width, shown.evaluate(WIDEST)
    assert faults == []


WIDEST = """
[...document.querySelectorAll("article *")]
.filter(e => e.getBoundingClientRect().right > innerWidth)
.map(e => e.outerHTML.slice(0, 100))
"""


class _Links(HTMLParser):
    """The ids of a page, and the targets of its links."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.links |= {attrs[key] for key in ("href", "src") if attrs.get(key)}


def test_no_link_is_broken(site):
    folder, root = site
    files = {path: _Links(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    assert len(files) >= len(PAGES)
    broken, n_links = [], 0
    for path, content in files.items():
        here = root + path.relative_to(folder).as_posix()
        for link in content.links:
            target, fragment = urldefrag(urljoin(here, link))
            if not target.startswith(root):
                assert urlparse(target).scheme in ("https", "http", "data", "mailto"), link
                continue
            n_links += 1
            file = folder / unquote(urlparse(target).path).lstrip("/")
            file = file / "index.html" if file.is_dir() else file
            if not file.exists() or (
                fragment and file in files and fragment not in files[file].ids
            ):
                broken.append((path.relative_to(folder).as_posix(), link))
    assert broken == []
    assert n_links > 1000


@pytest.mark.parametrize("width", [400, 1300])
@pytest.mark.parametrize("word", WORDS)
def test_search_answers(site, open_page, word, width):
    opened, faults = open_page
    page = opened("", width, wait_until="networkidle")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search").fill(word)
    wanted = site[1] + WORDS[word]
    result = page.locator(f'[role=option]:is([href="{wanted}"], [href^="{wanted}#"])').first
    result.wait_for(timeout=10_000)
    assert faults == []
    page.goto(result.get_attribute("href"))
    assert word.lower() in page.locator("article").inner_text().lower()


def test_the_copy_button_of_a_console_block_copies_the_commands(open_page):
    opened, _ = open_page
    page = opened("command-line/", 1300)
    blocks = page.locator(".highlight:has(.gp)")
    assert blocks.count() >= 5
    for block in blocks.all():
        block.locator("button").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        shown = block.inner_text().splitlines()
        assert copied.split("\n") == [line[2:] for line in shown if line.startswith("$ ")]


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("api/")])
def test_names_in_the_reference_are_those_that_users_write(open_page, page):
    opened, _ = open_page
    shown = opened(address(page), 1300)
    names = [each.text_content().split()[0] for each in shown.locator("h2.doc-heading").all()]
    assert names
    for name in names:
        package, _, attribute = name.rpartition(".")
        assert callable(getattr(importlib.import_module(package), attribute))
        assert package.count(".") <= 1


@pytest.mark.parametrize("page", ["", "training/", "api/estimators/"])
def test_dark_colors(open_page, page):
    opened, faults = open_page
    shades = {}
    for scheme in ("light", "dark"):
        shown = opened(page, 1300, scheme)
        color = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(map(int, re.findall(r"\d+", color)[:3])) / 3
    assert shades["light"] > 200
    assert shades["dark"] < 60
    assert faults == []
