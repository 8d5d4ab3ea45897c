"""Reports opened in Chromium, where everything that they ask for or say is noted."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE = {"width": 1180, "height": 900}, {"width": 375, "height": 812}


@dataclass(slots=True)
class Opened:
    """A page and what happened while it was open."""

    page: Any
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    navigations: list[str] = field(default_factory=list)


def open_report(browser: Any, html: str, path: Path, **context: Any) -> Opened:
    """Open a report from disk in a context where every request but for the file itself is refused and noted."""
    path.write_text(html, encoding="utf-8")
    page = browser.new_context(**{"viewport": WIDE, **context}).new_page()
    opened = Opened(page=page)

    def answer(route: Any) -> None:
        if route.request.url == path.as_uri():
            route.continue_()
        else:
            opened.requests.append(route.request.url)
            route.abort()

    def refuse(dialog: Any) -> None:
        opened.dialogs.append(dialog.message)
        dialog.dismiss()

    page.route("**/*", answer)
    page.on(
        "request",
        lambda request: opened.requests.append(request.url) if request.url != path.as_uri() else None,
    )
    page.on("dialog", refuse)
    page.on("console", lambda message: opened.messages.append(message.text))
    page.on("pageerror", lambda error: opened.messages.append(str(error)))
    page.on("framenavigated", lambda frame: opened.navigations.append(frame.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    if '<script type="module">' in html and context.get("java_script_enabled", True):
        page.wait_for_selector("html.ready, html:not(:has(main))", state="attached")
    return opened


def drawn(page: Any) -> list[int]:
    """Return how many marks each visible drawing has."""
    sizes = []
    for svg in page.locator("svg").all():
        box = svg.bounding_box()
        if box is not None and box["width"] > 100 and box["height"] > 30:
            sizes.append(svg.locator("path").count() + svg.locator("text").count())
    return sizes
