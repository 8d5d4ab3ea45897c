"""A Vega-Lite specification becomes an SVG that can do nothing but be looked at.

Specifications come out of a notebook, so they are not trusted: nothing outside is loaded, and of the drawing
only known elements and attributes pass, rebuilt one by one.  Identifiers get a prefix, so that drawings in one
page do not share any.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any
from xml.etree import ElementTree as ET

import vl_convert

from auditkit.errors import ReportError
from auditkit.text import visible_lines

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


def draw(spec: Mapping[str, Any], *, prefix: str, label: str, major: int = 5) -> str:
    """Return a Vega-Lite specification drawn as one `<svg>` element for an HTML page.

    `prefix` goes before every identifier inside, `label` is the text for readers who do not see the drawing,
    `major` the version of Vega-Lite that the specification is written in.  `ReportError` says why something
    cannot be drawn: it asks for outside data, or Vega-Lite refuses it.
    """
    if _asks_outside(spec):
        raise ReportError("chart: not drawn, it refers to data outside the notebook")
    try:
        drawn = vl_convert.vegalite_to_svg(readable(spec), vl_version=_version(major), allowed_base_urls=[])
        # Expat resolves no external entity, and the text was written by vl-convert.
        root = ET.fromstring(drawn)  # noqa: S314
    except (ValueError, ET.ParseError) as exc:
        raise ReportError(f"chart: not drawn, {str(exc).splitlines()[0]}") from exc
    return "".join(_element(root, prefix, label))


def readable(part: Any) -> Any:
    """Return a specification in whose texts and names every character can be seen; line breaks and tabs stay.

    What vl-convert makes of some of the others, a null among them, ends the process.
    """
    if isinstance(part, str):
        return visible_lines(part)
    if isinstance(part, Mapping):
        return {visible_lines(str(key)): readable(value) for key, value in part.items()}
    return [readable(value) for value in part] if isinstance(part, list | tuple) else part


def _version(major: int) -> str:
    known: list[str] = vl_convert.get_vegalite_versions()
    return next(
        (v for v in reversed(known) if v.startswith(f"{major}.")), known[0] if major < 5 else known[-1]
    )


def _asks_outside(part: object) -> bool:
    """Whether a specification names a URL, a link or an element of the page anywhere but in the data itself."""
    if isinstance(part, Mapping):
        return any(
            key in {"url", "href", "element"}
            or (key not in {"values", "datasets", "usermeta"} and _asks_outside(value))
            for key, value in part.items()
        )
    return isinstance(part, list | tuple) and any(map(_asks_outside, part))


def _element(node: ET.Element, prefix: str, label: str | None = None) -> Iterator[str]:
    name = node.tag.removeprefix(_SVG)
    if name not in _KEPT or any(node.get(key) == value for key, value in _INVISIBLE.items()):
        return
    attributes = dict(_safe_attributes(node, prefix))
    if label is not None:
        # The page scales the drawing, so its size is only the ratio of its view box.
        attributes = {"viewBox": attributes["viewBox"], "role": "img", "aria-label": label}
    yield f"<{name}" + "".join(f' {key}="{escape(value)}"' for key, value in attributes.items()) + ">"
    yield escape(node.text or "", quote=False)
    for child in node:
        yield from _element(child, prefix)
    yield f"</{name}>"


def _safe_attributes(node: ET.Element, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.attrib.items():
        if key not in _KEPT_ATTRIBUTES:
            continue
        if key == "id":
            if _IDENTIFIER.fullmatch(value):
                yield key, prefix + value
        elif "(" in value and "url" in value.lower():
            if found := _REFERENCE.fullmatch(value):
                yield key, f"url(#{prefix}{found[1]})"
        else:
            yield key, _LONG_NUMBER.sub(_short_number, value)


def _short_number(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
