"""A chart in a report: a picture for paper and for readers without scripts, and what the page's script draws.

A specification comes out of a notebook and is not trusted.  One that refers to anything outside is refused for both.
Of a drawing only known elements and attributes pass, rebuilt one by one, with a prefix before identifiers, so that
drawings in one page do not share any.  What the script gets is data that cannot end its element, without the options
that a specification may give to the program that embeds it.

Drawing takes most of a report's time, so each chart is drawn once; only a report without scripts has a second picture,
for narrow windows.  Both are in the colours of a light page, which the style sheet maps to dark ones.
"""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

import msgspec
import vl_convert
from markupsafe import Markup
from msgspec import Struct

from auditkit.charts.axes import group_name
from auditkit.charts.figure import WIDTH, ChartMetadata, Clock, Pick
from auditkit.display.tables import Table, records
from auditkit.errors import ReportError
from auditkit.text import visible, visible_lines

MOST_CHARACTERS = 500
"""What is drawn of one text, and what a script gets of it."""
MOST_ROWS = 100_000
"""A chart with more rows of data is not drawn."""
NARROW = 340
"""Width in pixels of the drawing for a narrow window."""

_LEGEND = {"columns": 2, "labelLimit": 90}
_FOR_PHONES = {"config": {"axisY": {"labelLimit": 105}, "legend": _LEGEND}}
_BRUSH = {
    "name": "brush",
    "select": {
        "type": "interval",
        "encodings": ["x"],
        "zoom": False,  # a wheel over a chart scrolls the page
        "mark": {"fill": "#0072b2", "fillOpacity": 0.12, "stroke": "#0072b2", "strokeOpacity": 0.6},
    },
}
_PICKED = {
    field: {
        "condition": {"test": f"!length(picked) || indexof(picked, datum.{field}) >= 0", "value": 1},
        "value": 0.25,
    }
    for field in ("row", "group", "cell")
}
"""The fields by which marks are selected, and the opacity of a mark while some are."""
_HARMFUL = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)

_SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = (
    "svg g path rect circle ellipse line polyline polygon text tspan defs clipPath linearGradient "
    "radialGradient stop"
)
_ATTRIBUTES = (
    "d x y x1 y1 x2 y2 cx cy r rx ry dx dy width height points transform viewBox id offset gradientUnits "
    "fill fill-opacity fill-rule stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset "
    "stroke-linecap stroke-linejoin stroke-miterlimit stop-color stop-opacity opacity clip-path clip-rule "
    "font-size font-weight font-style text-anchor dominant-baseline"
)
_KEPT = frozenset(_ELEMENTS.split())
_KEPT_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
_INVISIBLE = {"display": "none", "d": ""}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e[-+]?\d+)?")
_REFERENCE = re.compile(r"url\(#([A-Za-z0-9_-]+)\)")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]+")


class FigureBlock(Struct, frozen=True, kw_only=True):
    """A chart: its picture, its data, and either JSON for the script or another picture, for narrow windows."""

    kind: ClassVar[str] = "figure"
    name: str
    title: str
    subtitle: str
    alt: str
    wide: Markup
    narrow: Markup | None
    data: Table | None
    clock: Clock | None
    pick: Pick | None
    live: Markup | None


def our_figure(
    spec: Mapping[str, Any], metadata: ChartMetadata, *, major: int, prefix: str, static: bool
) -> FigureBlock:
    """Return one of our charts; the page writes its title itself.  Raises `ReportError` as `draw` does."""
    alt = visible(metadata.alt)
    bare = {
        key: value
        for key, value in spec.items()
        if key not in {"title", "description", "$schema", "usermeta"}
    }
    wide = draw({**bare, "width": WIDTH}, prefix=f"{prefix}w-", label=alt, major=major)
    patch = _for_phones(bare)
    narrow = None
    if static:
        phone = {**_patched(bare, patch), "width": NARROW}
        narrow = draw(phone, prefix=f"{prefix}n-", label=alt, major=major)
    return FigureBlock(
        name=prefix,
        title=visible(metadata.title),
        subtitle=visible(metadata.subtitle),
        alt=alt,
        wide=wide,
        narrow=narrow,
        data=metadata.data if metadata.data.rows else None,
        clock=metadata.clock,
        pick=metadata.pick,
        live=None if static else _script_data(_live(bare, patch, metadata)),
    )


def foreign_figure(spec: Mapping[str, Any], *, major: int, prefix: str, static: bool) -> FigureBlock:
    """Return a chart that is not ours, as its specification has it.  Raises `ReportError` as `draw` does."""
    bare = _with_group_names(
        {key: value for key, value in spec.items() if key not in {"$schema", "usermeta"}}
    )
    alt = visible(str(spec.get("description") or _text(spec.get("title")) or "chart"))
    wide = draw(bare, prefix=f"{prefix}w-", label=alt, major=major)
    return FigureBlock(
        name=prefix,
        title="",
        subtitle="",
        alt=alt,
        wide=wide,
        narrow=None,
        data=next((records(rows, alt) for rows in _datasets(bare)), None),
        clock=None,
        pick=None,
        live=None if static else _script_data({"spec": bare}),
    )


def _with_group_names(part: Any, *, held: bool = False) -> Any:
    """Return a specification whose data (`held`) have no text that Vega trips over as the name of a group."""
    if isinstance(part, Mapping):
        return {
            key: _with_group_names(value, held=held or key in {"values", "datasets"})
            for key, value in part.items()
        }
    if isinstance(part, list | tuple):
        return [_with_group_names(value, held=held) for value in part]
    return group_name(part) if held and isinstance(part, str) else part


def _script_data(value: object) -> Markup | None:
    """Return JSON for inside a script element, or None for what JSON cannot hold."""
    try:
        # Sorted, as a notebook that was saved has its keys in another order.
        text = json.dumps(
            readable(value), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return Markup(text.translate(_HARMFUL))  # noqa: S704 -- no character is left that HTML knows


def _live(spec: Mapping[str, Any], patch: Mapping[str, Any], metadata: ChartMetadata) -> dict[str, Any]:
    """Return what the script draws: one of our specifications, what a narrow window changes in it, and what is selected in it."""
    wide: dict[str, Any] = {**spec, "width": "container"}
    given = {"narrow": patch, "clock": None, "pick": None}
    if metadata.clock is not None:
        given["clock"] = {"zone": visible(metadata.clock.zone), "shifts": metadata.clock.shifts}
        return {**given, "spec": _first_layer(wide, {"params": [_BRUSH]})}
    if metadata.pick is not None and metadata.pick.field in _PICKED:
        given["pick"] = msgspec.to_builtins(metadata.pick)
        faded = _first_layer(wide, {"encoding": {"opacity": _PICKED[metadata.pick.field]}})
        return {**given, "spec": {**faded, "params": [{"name": "picked", "value": []}]}}
    return {**given, "spec": wide}


def _first_layer(spec: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of our specifications with a change to the marks that it draws, not to the words beside them."""
    layers = spec.get("layer")
    if isinstance(layers, list) and layers and isinstance(layers[0], Mapping):
        return {**spec, "layer": [_patched(layers[0], patch), *layers[1:]]}
    return _patched(spec, patch)


def _for_phones(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a narrow window changes in one of our specifications: shorter labels, a higher legend."""
    colour = _mapping(_mapping(spec.get("encoding")).get("color"))
    if not colour.get("legend"):
        return dict(_FOR_PHONES)
    return {**_FOR_PHONES, "encoding": {"color": {"legend": _LEGEND}}}


def _patched(value: object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with another laid over it, level by level, as the page's script does it."""
    merged = dict(_mapping(value))
    for key, part in patch.items():
        merged[key] = _patched(merged.get(key), part) if isinstance(part, Mapping) else part
    return merged


def _datasets(spec: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the rows that a specification carries."""
    held = [_mapping(spec.get("data")).get("values"), *_mapping(spec.get("datasets")).values()]
    for rows in held:
        if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
            yield rows


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(title: object) -> str:
    return title if isinstance(title, str) else str(_mapping(title).get("text") or "")


def draw(spec: Mapping[str, Any], *, prefix: str, label: str, major: int = 5) -> Markup:
    """Return a Vega-Lite specification drawn as one `<svg>` element, built element by element, for an HTML page.

    `prefix` goes before every identifier inside, `label` is the text for readers who do not see the drawing,
    `major` the version of Vega-Lite that the specification is written in.  `ReportError` says why something
    cannot be drawn: it asks for outside data, or Vega-Lite refuses it.
    """
    if _asks_outside(spec):
        raise ReportError("chart: not drawn, it refers to data outside the notebook")
    if (rows := _rows(spec)) > MOST_ROWS:
        raise ReportError(f"chart: not drawn, it has {rows:,} rows of data (expected at most {MOST_ROWS:,})")
    try:
        drawn = vl_convert.vegalite_to_svg(
            readable(spec), vl_version=_vega_lite_version(major), allowed_base_urls=[]
        )
        # Expat resolves no external entity, and the text was written by vl-convert.
        root = ET.fromstring(drawn)  # noqa: S314
    except (ValueError, ET.ParseError) as exc:
        raise ReportError(f"chart: not drawn, {str(exc).splitlines()[0]}") from exc
    return Markup("".join(_element(root, _Names(prefix), label)))  # noqa: S704 -- every text in it is escaped


def readable(part: Any) -> Any:
    """Return a specification in whose texts and names every character can be seen, long ones cut; line breaks and tabs stay.

    What vl-convert makes of some of the others, a null among them, ends the process.
    """
    if isinstance(part, str):
        return visible_lines(part if len(part) <= MOST_CHARACTERS else f"{part[: MOST_CHARACTERS - 1]}\u2026")
    if isinstance(part, Mapping):
        return {readable(str(key)): readable(value) for key, value in part.items()}
    return [readable(value) for value in part] if isinstance(part, list | tuple) else part


def _vega_lite_version(major: int) -> str:
    known: list[str] = vl_convert.get_vegalite_versions()
    return next(
        (v for v in reversed(known) if v.startswith(f"{major}.")), known[0] if major < 5 else known[-1]
    )


def _asks_outside(part: object) -> bool:
    """Return whether a specification names a URL, a link or an element of the page anywhere but in the data itself."""
    if isinstance(part, Mapping):
        return any(
            key in {"url", "href", "element"}
            or (key not in {"values", "datasets", "usermeta"} and _asks_outside(value))
            for key, value in part.items()
        )
    return isinstance(part, list | tuple) and any(map(_asks_outside, part))


def _rows(part: object) -> int:
    """Return how many rows of data a specification carries."""
    if isinstance(part, list | tuple):
        return sum(map(_rows, part))
    found = 0
    for key, value in _mapping(part).items():
        if key == "datasets":
            found += sum(len(rows) for rows in _mapping(value).values() if isinstance(rows, list))
        else:
            found += len(value) if key == "values" and isinstance(value, list) else _rows(value)
    return found


class _Names:
    """The identifiers of a drawing with a prefix, counted from 0: those of vl-convert go on from drawing to drawing."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.known: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self.known.setdefault(name, f"{self.prefix}{len(self.known)}")


def _element(node: ET.Element, names: _Names, label: str | None = None) -> Iterator[str]:
    name = node.tag.removeprefix(_SVG)
    if name not in _KEPT or any(node.get(key) == value for key, value in _INVISIBLE.items()):
        return
    attributes = dict(_safe_attributes(node, names))
    if label is not None:
        # The page scales the drawing, so its size is only the ratio of its view box.
        attributes = {"viewBox": attributes["viewBox"], "role": "img", "aria-label": label}
    yield f"<{name}" + "".join(f' {key}="{escape(value)}"' for key, value in attributes.items()) + ">"
    yield escape(node.text or "", quote=False)
    for child in node:
        yield from _element(child, names)
    yield f"</{name}>"


def _safe_attributes(node: ET.Element, names: _Names) -> Iterator[tuple[str, str]]:
    for key, value in node.attrib.items():
        if key not in _KEPT_ATTRIBUTES:
            continue
        if key == "id":
            if _IDENTIFIER.fullmatch(value):
                yield key, names[value]
        elif "(" in value and "url" in value.lower():
            if found := _REFERENCE.fullmatch(value):
                yield key, f"url(#{names[found[1]]})"
        else:
            yield key, _LONG_NUMBER.sub(_short_number, value)


def _short_number(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
