"""A chart in a report: a picture for paper and for readers without scripts, and what the page's script draws.

Drawing takes most of a report's time, so each chart is drawn once; only a report without scripts has a second picture,
for narrow windows.  Both are drawn in the colours of a light page, which the style sheet knows and maps to dark ones.

A specification comes out of a notebook and is not trusted.  One that refers to anything outside is refused for both;
what the script gets is data that cannot end its element, without the options that a specification may give to the
program that embeds it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from auditkit.charts.axes import group_name
from auditkit.charts.figure import WIDTH, ChartMetadata, Clock
from auditkit.display.tables import Table, records
from auditkit.reporting.drawing import draw, readable
from auditkit.text import visible

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
_HARMFUL = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureBlock:
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
    live: Markup | None


def our_figure(
    spec: Mapping[str, Any], told: ChartMetadata, *, major: int, prefix: str, static: bool
) -> FigureBlock:
    """Return one of our charts; the page writes its title itself.  Raises `ReportError` as `draw` does."""
    alt = visible(told.alt)
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
        narrow = Markup(draw(phone, prefix=f"{prefix}n-", label=alt, major=major))  # noqa: S704
    return FigureBlock(
        name=prefix,
        title=visible(told.title),
        subtitle=visible(told.subtitle),
        alt=alt,
        wide=Markup(wide),  # noqa: S704 -- built element by element
        narrow=narrow,
        data=told.data if told.data.rows else None,
        clock=told.clock,
        live=None if static else _data(_live(bare, patch, told.clock)),
    )


def foreign_figure(spec: Mapping[str, Any], *, major: int, prefix: str, static: bool) -> FigureBlock:
    """Return a chart that is not ours, as its specification has it.  Raises `ReportError` as `draw` does."""
    bare = _unclaimed({key: value for key, value in spec.items() if key not in {"$schema", "usermeta"}})
    alt = visible(str(spec.get("description") or _text(spec.get("title")) or "chart"))
    wide = draw(bare, prefix=f"{prefix}w-", label=alt, major=major)
    return FigureBlock(
        name=prefix,
        title="",
        subtitle="",
        alt=alt,
        wide=Markup(wide),  # noqa: S704 -- built element by element
        narrow=None,
        data=next((records(rows, alt) for rows in _datasets(bare)), None),
        clock=None,
        live=None if static else _data({"spec": bare}),
    )


def _unclaimed(part: Any, *, held: bool = False) -> Any:
    """Return a specification whose data (`held`) have no text that Vega trips over as the name of a group."""
    if isinstance(part, Mapping):
        return {
            key: _unclaimed(value, held=held or key in {"values", "datasets"}) for key, value in part.items()
        }
    if isinstance(part, list | tuple):
        return [_unclaimed(value, held=held) for value in part]
    return group_name(part) if held and isinstance(part, str) else part


def _data(value: object) -> Markup | None:
    """Return JSON for inside a script element, or None for what JSON cannot hold."""
    try:
        # Sorted, as a notebook that was saved has its keys in another order.
        text = json.dumps(
            readable(value), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return Markup(text.translate(_HARMFUL))  # noqa: S704 -- no character is left that HTML knows


def _live(spec: Mapping[str, Any], patch: Mapping[str, Any], clock: Clock | None) -> dict[str, Any]:
    """Return what the script draws: one of our specifications, what a narrow window changes in it, and its clock."""
    wide = {**spec, "width": "container"}
    if clock is None:
        return {"spec": wide, "narrow": patch, "clock": None}
    told = {"zone": visible(clock.zone), "shifts": clock.shifts}
    return {"spec": _selectable(wide), "narrow": patch, "clock": told}


def _selectable(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of our specifications with a stretch of its time axis to select, in place of moving that axis."""
    layers = spec.get("layer")
    if isinstance(layers, list) and layers and isinstance(layers[0], Mapping):
        return {**spec, "layer": [_selectable(layers[0]), *layers[1:]]}
    return {**spec, "params": [_BRUSH]}


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
