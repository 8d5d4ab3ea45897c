"""What the outputs of a notebook become in a report, one value for each kind, and the rows of its tables as HTML.

An output is taken in the richest form that is safe; what has no safe form is named and left out.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar

from markupsafe import Markup, escape
from msgspec import Struct
from nbconvert.filters import strip_ansi

from auditkit.charts import figure
from auditkit.charts.figure import ChartMetadata, read_metadata
from auditkit.display import cards, tables
from auditkit.errors import ReportError
from auditkit.reporting.chart import FigureBlock, foreign_figure, our_figure
from auditkit.reporting.cover import MIME as COVER_MIME
from auditkit.reporting.cover import CoverModel, Prepared, read_cover, read_prepared
from auditkit.reporting.markdown import clean, emitted
from auditkit.reporting.packed import MIME as EVENTS_MIME
from auditkit.reporting.packed import Packed, unpack_events
from auditkit.text import label, visible, visible_lines

_VEGA_LITE = re.compile(r"application/vnd\.vegalite\.v(\d+)\+json")
_LIVE = "application/vnd.jupyter.widget-view+json"
"""A widget, which is nothing without its kernel; one without other forms has them as outputs beside it."""
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_UNBROKEN = 24
"""A text of so many characters is not broken."""
_SIGNS = re.compile(r"(?<=[/:.@_=&?,;\\])(?=[^\s/:.@_=&?,;\\])")
_NO_WORD, _PARTS = re.compile(r"\S{33}"), re.compile(r"\S{1,32}\s*|\s+")
"""More letters in a row than a word has, and what these are broken into."""
_LONG = 400
"""A value of more characters scrolls inside its cell."""


class TableBlock(Struct, frozen=True, kw_only=True):
    """A table of ours."""

    kind: ClassVar[str] = "table"
    name: str
    table: tables.Table


class CardBlock(Struct, frozen=True, kw_only=True):
    """A few figures in words, with their spark line."""

    kind: ClassVar[str] = "card"
    card: cards.Card
    spark: Markup


class HtmlBlock(Struct, frozen=True, kw_only=True):
    """Cleaned HTML."""

    kind: ClassVar[str] = "html"
    html: Markup


class TextBlock(Struct, frozen=True, kw_only=True):
    """Text as it was printed; `stream` is "stdout" or "stderr"."""

    kind: ClassVar[str] = "text"
    text: str
    stream: str = "stdout"


class ImageBlock(Struct, frozen=True, kw_only=True):
    """A picture inside the page."""

    kind: ClassVar[str] = "image"
    uri: str
    alt: str


class ErrorBlock(Struct, frozen=True, kw_only=True):
    """An exception that ended a cell."""

    kind: ClassVar[str] = "error"
    name: str
    message: str
    traceback: str


class NoteBlock(Struct, frozen=True, kw_only=True):
    """What this report says about something it does not show."""

    kind: ClassVar[str] = "note"
    text: str


class CoverBlock(Struct, frozen=True, kw_only=True):
    """The first screen; the page shows it once, at its head."""

    kind: ClassVar[str] = "cover"
    model: CoverModel
    prepared: Prepared | None
    events: Packed | None


Block = (
    FigureBlock
    | TableBlock
    | CardBlock
    | HtmlBlock
    | TextBlock
    | ImageBlock
    | ErrorBlock
    | NoteBlock
    | CoverBlock
)


def blocks(outputs: list[Any], *, prefix: str, static: bool) -> Iterator[Block]:
    """Return what a code cell's outputs become; `prefix` makes identifiers unique in the page.

    `static` is for a page without scripts.
    """
    for number, output in enumerate(outputs):
        match output.output_type:
            case "stream":
                yield TextBlock(text=_text(output.text), stream=output.name)
            case "error":
                yield ErrorBlock(
                    name=visible(output.ename),
                    message=visible(output.evalue),
                    traceback=_text("\n".join(output.traceback)),
                )
            case "display_data" | "execute_result" if output.data.keys() != {_LIVE}:
                metadata = output.get("metadata", {})
                yield _shown(output.data, metadata, prefix=f"{prefix}-{number}", static=static)


def _shown(data: Mapping[str, Any], metadata: Mapping[str, Any], *, prefix: str, static: bool) -> Block:
    """Return the richest safe form of one output."""
    if COVER_MIME in data and (model := read_cover(data[COVER_MIME])) is not None:
        prepared = read_prepared(metadata.get(COVER_MIME))
        return CoverBlock(model=model, prepared=prepared, events=unpack_events(data.get(EVENTS_MIME)))
    if tables.MIME in data and (table := tables.read_table(data[tables.MIME])) is not None:
        return TableBlock(name=prefix, table=table)
    if cards.MIME in data and (card := cards.read_card(data[cards.MIME])) is not None:
        return CardBlock(card=card, spark=Markup(cards.spark_svg(card.spark)))  # noqa: S704 -- made of numbers
    for mime, value in data.items():
        if (found := _VEGA_LITE.fullmatch(mime)) and isinstance(value, Mapping):
            ours = read_metadata(data.get(figure.MIME))
            return _figure(value, ours, major=int(found[1]), prefix=prefix, static=static)
    if "text/html" in data and (html := clean(str(data["text/html"]), links=False)).strip():
        return HtmlBlock(html=html)
    return _picture(data) or _plain(data)


def _figure(
    spec: Mapping[str, Any], metadata: ChartMetadata | None, *, major: int, prefix: str, static: bool
) -> Block:
    try:
        if metadata is None:
            return foreign_figure(spec, major=major, prefix=prefix, static=static)
        return our_figure(spec, metadata, major=major, prefix=prefix, static=static)
    except ReportError as exc:
        return NoteBlock(text=str(exc))


def _picture(data: Mapping[str, Any]) -> Block | None:
    alt = visible(str(data.get("text/plain", "picture")))
    for mime in _IMAGES:
        if mime in data:
            try:
                content = base64.b64decode("".join(str(data[mime]).split()), validate=True)
            except ValueError:  # text beyond ASCII, or no base64
                return NoteBlock(text=f"A picture is left out, its {mime} cannot be read.")
            return ImageBlock(uri=f"data:{mime};base64,{base64.b64encode(content).decode()}", alt=alt)
    if "image/svg+xml" in data:
        # As a picture a browser runs nothing in it and loads nothing for it.
        content = str(data["image/svg+xml"]).encode("utf-8", "replace")
        return ImageBlock(uri=f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}", alt=alt)
    return None


def _plain(data: Mapping[str, Any]) -> Block:
    if "text/markdown" in data:
        return HtmlBlock(html=emitted(str(data["text/markdown"])))
    for mime in ("text/plain", "text/latex"):
        if mime in data:
            return TextBlock(text=_text(str(data[mime])))
    names = ", ".join(sorted(visible(mime) for mime in data)) or "no form at all"
    return NoteBlock(text=f"An output is left out, it has no form that a report shows ({names}).")


def _text(text: str) -> str:
    stripped: str = strip_ansi(text)  # type: ignore[no-untyped-call]
    return visible_lines(stripped)


def table_rows(shown: tables.Table) -> Markup:
    """Return the `<tr>` elements of a table; one whose instant is known has it in `data-at`.

    In one text: a template that goes from cell to cell takes longer than a chart.

    >>> from auditkit.display.tables import Column, Table
    >>> columns = Column(name="actor", kind="text"), Column(name="count", kind="number")
    >>> table_rows(Table(version=1, title="", columns=columns, rows=(("<b>", None),), total=1))
    Markup('<tr><td>&lt;b&gt;</td><td class="number none">(none)</td></tr>\\n')
    """
    cell = cache(_cell)  # values repeat down a column
    kinds = [column.kind for column in shown.columns]
    rows = ("".join(map(cell, row, kinds)) for row in shown.rows)
    instants = shown.instants or [None] * len(shown.rows)
    made = (f"{_opening(at)}{cells}</tr>\n" for at, cells in zip(instants, rows, strict=True))
    return Markup("".join(made))  # noqa: S704 -- instants are numbers, and each cell is escaped


def breakable(text: str) -> Markup:
    """Return visible text as HTML that a narrow column may break behind signs, and in the middle of a word never.

    A run of letters that is too long for a word, such as a digest, may be broken every so many.

    >>> breakable("role.grant"), breakable("arn:aws:iam::12:user/ann-bell")
    (Markup('role.grant'), Markup('arn:<wbr>aws:<wbr>iam::<wbr>12:<wbr>user/<wbr>ann-bell'))
    """
    shown = visible(text)
    if len(shown) <= _UNBROKEN:
        return escape(shown)
    runs = _SIGNS.split(shown)
    parts = (part for run in runs for part in (_PARTS.findall(run) if _NO_WORD.search(run) else [run]))
    return Markup("<wbr>").join(parts)


def _opening(instant: int | None) -> str:
    return "<tr>" if instant is None else f'<tr data-at="{instant}">'


def _cell(value: str | None, kind: tables.Kind) -> str:
    classes = [name for name, holds in ((kind, kind != "text"), ("none", value is None)) if holds]
    opening = f'<td class="{" ".join(classes)}">' if classes else "<td>"
    words = breakable(label(value)) if kind == "text" else escape(label(value))
    if value is not None and len(value) > _LONG:
        return f'{opening}<div class="long" tabindex="0">{words}</div></td>'
    return f"{opening}{words}</td>"
