"""The built site in a real browser: every page, link, image; search, copying, a phone, light and dark.

``python tools/browser.py docs/site [--shots FOLDER]`` serves the folder on this machine and drives the Chromium or
Chrome that is installed, without a window. It prints what is wrong, a line each, and then ends with status 1.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SEARCHED = "LIF"
DESK: Any = {"width": 1280, "height": 900}
PHONE: Any = {"width": 390, "height": 844}  # points


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A handler that writes no line per request."""

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder under an address of this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()


def pages(folder: Path) -> list[str]:
    """Addresses of the site's pages, relative."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
    return sorted(name.removesuffix("index.html") for name in found if name != "404.html")


def look(page: Page, base: str, name: str) -> tuple[list[str], set[str], set[str]]:
    """Open one page: what is wrong, where it links to inside the site, and the anchors it has."""
    wrong: list[str] = []

    def failed(response: Any) -> None:
        if response.status >= 400:
            wrong.append(f"{name}: {response.url.removeprefix(base)} answers {response.status}")

    def stumbled(error: Any) -> None:
        wrong.append(f"{name}: script error {error}")

    page.on("response", failed)
    page.on("pageerror", stumbled)
    page.goto(urljoin(base, name), wait_until="load")
    broken = page.eval_on_selector_all("img", "all => all.filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    wrong += [f"{name}: image {each.removeprefix(base)} does not show" for each in broken]
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    anchors = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    page.remove_listener("response", failed)
    page.remove_listener("pageerror", stumbled)
    return wrong, {each for each in links if each.startswith(base)}, set(anchors)


def dead_links(base: str, links: dict[str, set[str]], anchors: dict[str, set[str]], folder: Path) -> list[str]:
    """Links to pages or anchors of the site that are not there."""
    found = []
    for name, targets in links.items():
        for target in sorted(targets):
            address, anchor = urldefrag(target)
            inside = urlsplit(address).path.lstrip("/").removesuffix("index.html")
            if inside not in anchors:
                if not (folder / inside).is_file():
                    found.append(f"{name}: links to {inside}, which is not there")
            elif anchor and anchor not in anchors[inside] and not anchor.startswith("__"):
                found.append(f"{name}: links to {inside}#{anchor}, which is not there")
    return found


def search(page: Page, base: str) -> list[str]:
    """The search box finds the word it must."""
    page.goto(base, wait_until="load")
    box = page.locator("input.md-search__input")
    box.click()
    box.fill(SEARCHED)
    try:
        page.wait_for_selector(".md-search-result__item", timeout=90_000)  # the index is built in the browser
    except Exception:
        return [f"the search finds nothing for {SEARCHED}"]
    texts = page.locator(".md-search-result__item").all_inner_texts()
    return [] if any(SEARCHED in text for text in texts) else [f"no result of the search shows {SEARCHED}"]


def copying(page: Page, base: str, name: str) -> list[str]:
    """The button beside the first block of code puts that code on the clipboard."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=base.rstrip("/"))
    page.goto(urljoin(base, name), wait_until="load")
    # the theme marks the lines of a block; its button copies them without the marks
    block = page.locator("div.highlight:has(pre > code)").first
    code = block.locator("pre > code").inner_text()
    button = block.locator("button[data-md-type=copy], button.md-clipboard, .md-code__button").first
    button.click()
    page.wait_for_timeout(300)
    copied = page.evaluate("() => navigator.clipboard.readText()")
    return [] if copied.strip() == code.strip() else [f"{name}: the copy button gave {copied[:60]!r}, not the code"]


def schemes(browser: Browser, base: str, shots: Path | None) -> list[str]:
    """Light and dark follow the reader's setting and differ; a reader of each comes for the first time."""
    colours = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport=DESK)  # type: ignore[arg-type, unused-ignore]
        page = context.new_page()
        page.goto(base, wait_until="networkidle")  # the theme's script sets the colours
        colours.append(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        if shots is not None:
            page.screenshot(path=shots / f"{scheme}.png")
        context.close()
    return [] if colours[0] != colours[1] else [f"light and dark have the same background, {colours[0]}"]


def phone(browser: Browser, base: str, names: list[str], shots: Path | None) -> list[str]:
    """On a narrow screen no page is wider than the screen (tables and code scroll by themselves)."""
    context = browser.new_context(viewport=PHONE, device_scale_factor=2, is_mobile=True)
    page = context.new_page()
    wrong = []
    for name in names:
        page.goto(urljoin(base, name), wait_until="load")
        width = page.evaluate("() => document.scrollingElement.scrollWidth")
        if width > PHONE["width"] + 1:
            wrong.append(f"{name}: {width} points wide on a phone of {PHONE['width']}")
    if shots is not None:
        page.goto(base, wait_until="load")
        page.screenshot(path=shots / "phone.png")
    context.close()
    return wrong


def check(folder: Path, program: str, shots: Path | None = None) -> list[str]:
    """Everything that is wrong with a built site."""
    from playwright.sync_api import sync_playwright

    names = pages(folder)
    if not names:
        return [f"{folder} holds no page"]
    with served(folder) as base, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=OPTIONS)
        page = browser.new_page(viewport=DESK)
        wrong: list[str] = []
        links: dict[str, set[str]] = {}
        anchors: dict[str, set[str]] = {}
        for name in names:
            said, links[name], anchors[name] = look(page, base, name)
            wrong += said
        wrong += dead_links(base, links, anchors, folder)
        wrong += search(page, base)
        wrong += schemes(browser, base, shots)
        with_code = [n for n in names if "<pre" in (folder / n / "index.html").read_text(encoding="utf-8")]
        wrong += copying(page, base, with_code[0]) if with_code else ["no page shows code"]
        wrong += phone(browser, base, names, shots)
        browser.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shots", type=Path, help="folder for pictures of the first page")
    given = parser.parse_args()
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        print(f"none of {', '.join(PROGRAMS)} is installed; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    if given.shots is not None:
        given.shots.mkdir(parents=True, exist_ok=True)
    wrong = check(given.folder.resolve(), program, given.shots)
    print("\n".join(wrong) or f"{len(pages(given.folder))} pages: every link, image and script is in order")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
