"""What the outputs of a notebook become in a report, one value for each kind.

An output is taken in the richest form that is safe; what has no safe form is named and left out.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup
from nbconvert.filters import strip_ansi

from auditkit.charts import figure
from auditkit.charts.figure import ChartMetadata, read_metadata
from auditkit.display import cards, tables
from auditkit.errors import ReportError
from auditkit.reporting import facts
from auditkit.reporting.facts import Facts, Prepared
from auditkit.reporting.figures import FigureBlock, foreign_figure, our_figure
from auditkit.reporting.prose import clean, emitted
from auditkit.text import visible, visible_lines

_VEGA_LITE = re.compile(r"application/vnd\.vegalite\.v(\d+)\+json")
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBlock:
    """A table of ours."""

    kind: ClassVar[str] = "table"
    name: str
    table: tables.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class CardBlock:
    """A few figures in words, with their spark line."""

    kind: ClassVar[str] = "card"
    card: cards.Card
    spark: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class HtmlBlock:
    """Cleaned HTML."""

    kind: ClassVar[str] = "html"
    html: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlock:
    """Text as it was printed; `stream` is "stdout" or "stderr"."""

    kind: ClassVar[str] = "text"
    text: str
    stream: str = "stdout"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBlock:
    """A picture inside the page."""

    kind: ClassVar[str] = "image"
    uri: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBlock:
    """An exception that ended a cell."""

    kind: ClassVar[str] = "error"
    name: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteBlock:
    """What this report says about something it does not show."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverBlock:
    """The first screen; the page shows it once, at its head."""

    kind: ClassVar[str] = "cover"
    facts: Facts
    prepared: Prepared | None


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
            case "display_data" | "execute_result":
                told = output.get("metadata", {})
                yield _shown(output.data, told, prefix=f"{prefix}-{number}", static=static)


def _shown(data: Mapping[str, Any], metadata: Mapping[str, Any], *, prefix: str, static: bool) -> Block:
    """Return the richest safe form of one output."""
    if facts.MIME in data and (read := facts.read_facts(data[facts.MIME])) is not None:
        return CoverBlock(facts=read, prepared=facts.read_prepared(metadata.get(facts.MIME)))
    if tables.MIME in data and (table := tables.read_table(data[tables.MIME])) is not None:
        return TableBlock(name=prefix, table=table)
    if cards.MIME in data and (card := cards.read_card(data[cards.MIME])) is not None:
        return CardBlock(card=card, spark=Markup(cards.spark_svg(card.spark)))  # noqa: S704 -- made of numbers
    for mime, value in data.items():
        if (found := _VEGA_LITE.fullmatch(mime)) and isinstance(value, Mapping):
            told = read_metadata(data.get(figure.MIME))
            return _figure(value, told, major=int(found[1]), prefix=prefix, static=static)
    if "text/html" in data and (html := clean(str(data["text/html"]), links=False)).strip():
        return HtmlBlock(html=html)
    return _picture(data) or _plain(data)


def _figure(
    spec: Mapping[str, Any], told: ChartMetadata | None, *, major: int, prefix: str, static: bool
) -> Block:
    try:
        if told is None:
            return foreign_figure(spec, major=major, prefix=prefix, static=static)
        return our_figure(spec, told, major=major, prefix=prefix, static=static)
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
