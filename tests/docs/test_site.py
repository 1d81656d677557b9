"""The documentation site: built without a warning and a network, every page in it, and nothing of it is elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.support import browser

TOP = Path(__file__).resolve().parents[2]


class Parsed(HTMLParser):
    """What a page points to, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors.add(values.get("id", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "href" in values and values.get("rel") not in {"canonical", "next", "prev"}:
            self.loads.append(values["href"])
        self.loads += [values[key] for key in ("src", "poster", "data") if key in values and tag != "a"]


def build(top: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Run tools/build-docs of a checkout."""
    return subprocess.run([top / "tools/build-docs", out], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, as tools/build-docs makes it."""
    out = tmp_path_factory.mktemp("docs")
    done = build(TOP, out)
    assert done.returncode == 0, done.stderr
    return out / "site"


@pytest.fixture(scope="module")
def pages(site):
    """Each page of it, read."""
    return {path.name: Parsed(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}


def test_every_page_is_in_the_menu(pages):
    """A page in docs/ that the menu does not have would be found by nobody."""
    text = (TOP / "docs/zensical.toml").read_text(encoding="utf-8")
    tomllib.loads(text)
    assert {path.name for path in TOP.glob("docs/*.md")} <= set(re.findall(r'"([\w-]+\.md)"', text))
    assert {name.replace(".md", ".html") for name in re.findall(r'"([\w-]+\.md)"', text)} <= set(pages)


def test_links_lead_somewhere(site, pages):
    """Each link to another page or part of one: both are there."""
    broken = []
    for name, page in pages.items():
        for link in (*page.links, *page.loads):
            target, anchor = urldefrag(link)
            if urlsplit(link).scheme or name == "404.html":
                continue
            file = unquote(target) or name
            if not (site / file).exists() or (anchor and file in pages and unquote(anchor) not in pages[file].anchors):
                broken.append((name, link))
    assert broken == []


def test_nothing_is_loaded_from_a_network(site, pages):
    """No page, style or picture has anything that a browser would fetch from elsewhere."""
    assert [(name, load) for name, page in pages.items() for load in page.loads if urlsplit(load).netloc] == []
    for path in (*site.rglob("*.css"), *site.rglob("*.svg")):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import\s*|xlink:href=|[^:]href=)[\"']?(?:https?:)?//", text) == [], path


def test_the_site_names_no_path_of_this_machine(site):
    """What is built here can be given away."""
    assert [path for path in site.rglob("*.html") if str(TOP) in path.read_text(encoding="utf-8")] == []


# Opens the search as a reader does, types, and writes where the answers lead as soon as there are some.
TYPE = """<script>
addEventListener("load", () => {
  const roots = () => [document, ...[...document.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)];
  const wait = (look, then) => { const found = look(); found ? then(found) : setTimeout(() => wait(look, then), 50); };
  wait(() => document.querySelector(".md-search__button"), (button) => {
    button.click();
    wait(() => roots().map((r) => r.querySelector("input[role=combobox]")).find(Boolean), (field) => {
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, "WRONG_SECRET");
      field.dispatchEvent(new Event("input", { bubbles: true }));
      wait(() => roots().map((r) => r.querySelector("a[href*='h=WRONG_SECRET']")).find(Boolean), (link) => {
        document.title = "first: " + link.href;
      });
    });
  });
});
</script></body>"""


@pytest.mark.skipif(not browser.available(), reason="no Chromium")
def test_the_search_finds_pages_opened_from_a_disk(site, tmp_path):
    """Opened without a server, the name of an exit code leads to its place."""
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    index = copy / "index.html"
    index.write_text(index.read_text(encoding="utf-8").replace("</body>", TYPE), encoding="utf-8")
    seen = browser.after_scripts(index.as_uri(), tmp_path / "profile")
    assert re.findall(r"<title>first: .*/(.*)</title>", seen) == ["troubleshooting.html?h=WRONG_SECRET#10-wrong_secret"]


def test_the_index_of_the_search_has_every_page(site, pages):
    """Whatever the search finds it finds here."""
    index = json.loads((site / "search.json").read_text(encoding="utf-8"))
    found = {urldefrag(item["location"])[0] or "index.html" for item in index["items"]}
    assert found >= set(pages) - {"404.html"}


def test_a_broken_link_fails_the_build(tmp_path):
    """A link to a page or an anchor that is not there is an error, and is named."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("docs", "tools"):
        shutil.copytree(TOP / name, copy / name)
    for name in ("THREAT_MODEL.md", "FORMAT.md", "CHANGELOG.md", "requirements-docs.lock"):
        shutil.copy(TOP / name, copy)
    (copy / "build").mkdir()
    (copy / "build/docs-env").symlink_to(TOP / "build/docs-env")
    with (copy / "docs/faq.md").open("a", encoding="utf-8") as page:
        page.write("\n[a](nowhere.md) [b](limits.md#nowhere)\n")
    done = build(copy, tmp_path / "out")
    assert done.returncode == 1
    assert "page does not exist" in done.stderr
    assert "anchor does not exist" in done.stderr
