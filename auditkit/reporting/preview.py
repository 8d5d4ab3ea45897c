"""What a notebook shows of a report that was made in one of its cells: a summary, and a link that opens it."""

import os
from html import escape
from pathlib import Path, PosixPath
from typing import Any
from urllib.parse import quote

import msgspec

from auditkit.display.cards import LITERAL
from auditkit.reporting.cover import CoverModel, KeyFigure
from auditkit.text import visible

MIME = "application/vnd.auditkit.report+json"
VERSION = 1
_MUTED = "color: var(--jp-ui-font-color2, #5b6573)"


class _Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What JupyterLab draws; `href` is the report as seen from the kernel's folder, which is the notebook's."""

    title: str
    answer: str
    figures: tuple[KeyFigure, ...]
    href: str
    path: str
    version: int = VERSION


class ReportPath(PosixPath):
    """The path of a report, like any other path; as the value of a notebook's cell it shows what the report says."""

    cover: CoverModel | None = None

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        if not self.is_file():  # a path made from this one
            return {"text/plain": repr(self)}
        place = os.path.relpath(self, Path.cwd())
        summary = _Summary(
            title=self.stem if self.cover is None else self.cover.title,
            answer="" if self.cover is None else self.cover.answer,
            figures=() if self.cover is None else self.cover.figures,
            href=quote(place),
            path=str(self),
        )
        return {MIME: msgspec.to_builtins(summary), "text/html": _html(summary), "text/plain": repr(self)}


def report_path(path: Path, cover: CoverModel | None) -> ReportPath:
    """Return the path of a report that has this first screen, or none."""
    made = ReportPath(path)
    made.cover = cover
    return made


def _html(shown: _Summary) -> str:
    """Return the summary where no extension of ours draws it: no style sheet, no script."""
    figures = "".join(
        f'<div><div style="{_MUTED}">{escape(visible(figure.name))}</div>'
        f'<div style="font-size: 1.3em; font-weight: 600">{escape(visible(figure.value))}</div></div>'
        for figure in shown.figures
    )
    return (
        f'<div {LITERAL} style="border: 1px solid var(--jp-border-color2, #dde3e9); border-radius: 6px; padding: 0.7em 1em; max-width: 46em">'
        f'<div style="font-weight: 600; font-size: 1.2em">{escape(visible(shown.title))}</div>'
        f"<p>{escape(visible(shown.answer))}</p>"
        f'<div style="display: flex; flex-wrap: wrap; gap: 0.5em 2em">{figures}</div>'
        f'<p><a href="{escape(shown.href)}" target="_blank">Open the report</a> '
        f'<code style="{_MUTED}">{escape(visible(shown.path))}</code></p></div>'
    )
