"""The attrs of an event: one JSON object, as given, of bounded size and depth.

Text stays verbatim, a mapping becomes compact JSON.  Only syntax is judged: a number that no float can hold is JSON.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from auditkit.errors import InvalidEventError
from auditkit.event.schema import MAX_ATTRS_BYTES, MAX_ATTRS_DEPTH

SURELY_FLAT = 2 * MAX_ATTRS_DEPTH
"""JSON of so many characters can be neither too long nor nested too deep."""


class AnyObject(msgspec.Struct, gc=False):
    """Decodes any JSON object, checking its syntax and keeping nothing of it."""


check_object = msgspec.json.Decoder(AnyObject).decode
"""Raises `msgspec.DecodeError` or `UnicodeEncodeError` unless a text is one JSON object."""


def plain_scalar(value: Any) -> Any:
    """Return a number, boolean or text of NumPy's as Python's; everything else as it is."""
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "biufU" else value


def _unboxed(value: Any) -> Any:
    """Return what JSON can hold of a value that the encoder does not know; raises where that is nothing."""
    plain = plain_scalar(value)
    if plain is value or isinstance(plain, np.generic):
        raise TypeError(f"{type(value).__name__} is no kind of JSON")
    if isinstance(plain, float) and not math.isfinite(plain):
        raise ValueError("a number that is not finite")
    return plain


_encode = msgspec.json.Encoder(enc_hook=_unboxed).encode


def checked_attrs(value: Any) -> str | None:
    """Return attrs as text; raises `InvalidEventError`."""
    if value is None:
        return None
    if isinstance(value, str):
        text = _checked_text(value)
    elif isinstance(value, Mapping):
        text = _encoded(value)
    else:
        raise InvalidEventError("attrs", value, "not a mapping or a JSON object")
    if len(text) > SURELY_FLAT and _depth(text) > MAX_ATTRS_DEPTH:
        raise InvalidEventError("attrs", value, f"nested deeper than {MAX_ATTRS_DEPTH} levels")
    return text


def spilled_attrs(given: Mapping[str, Any], extra: set[str], attrs: Any) -> dict[str, Any]:
    """Return attrs with the `extra` keys of an event added, in the order given; raises `InvalidEventError`."""
    for name in ("seq", "recorded"):
        if name in extra:
            raise InvalidEventError(name, given[name], "assigned by the trail, not by producers")
    if isinstance(attrs, str):
        attrs = _decoded(attrs)
    if attrs is not None and not isinstance(attrs, Mapping):
        raise InvalidEventError("attrs", attrs, "not a mapping or a JSON object")
    merged = dict(attrs or {})
    for name in given:  # the order given, so that equal inputs give equal attrs
        if name not in extra:
            continue
        if not isinstance(name, str):
            raise InvalidEventError("attrs", name, "key is not text")
        if name in merged:
            raise InvalidEventError(name, given[name], "given twice: as a key of the row and inside attrs")
        merged[name] = given[name]
    return merged


def utf8(name: str, value: str) -> bytes:
    """Return a text of the field `name` as UTF-8; raises `InvalidEventError` where that cannot be."""
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise InvalidEventError(name, value, "holds a lone surrogate, which UTF-8 cannot express") from exc


def _checked_text(value: str) -> str:
    size = len(value) if value.isascii() else len(utf8("attrs", value))
    if size > MAX_ATTRS_BYTES:
        raise InvalidEventError("attrs", value, f"longer than {MAX_ATTRS_BYTES} bytes of UTF-8 ({size})")
    try:
        check_object(value)
    except (msgspec.DecodeError, RecursionError):
        _decoded(value)  # which says why not
    return str.__str__(value)  # the text itself, also of a subclass that shows another one


def _decoded(text: str) -> Mapping[str, Any]:
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as exc:
        raise InvalidEventError("attrs", text, f"not JSON: {_first_line(exc)}") from exc
    if not isinstance(decoded, dict):
        raise InvalidEventError("attrs", text, "not a JSON object")
    return decoded


def _encoded(value: Mapping[str, Any]) -> str:
    try:
        raw = _encode(value if isinstance(value, dict) else dict(value))
    except (TypeError, ValueError, RecursionError, OverflowError) as exc:
        raise InvalidEventError("attrs", value, f"cannot be written as JSON: {_first_line(exc)}") from exc
    if len(raw) > MAX_ATTRS_BYTES:
        raise InvalidEventError("attrs", value, f"longer than {MAX_ATTRS_BYTES} bytes of UTF-8 ({len(raw)})")
    if b"null" in raw and _has_non_finite(value):
        raise InvalidEventError(
            "attrs", value, "holds a number that is not finite, which JSON cannot express"
        )
    return raw.decode()


def _has_non_finite(value: Any) -> bool:
    """Return whether a float in a value is not finite, level by level, so that no depth exhausts the stack."""
    level = [value]
    while level:
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            return True
        level = [inner for item in level for inner in _inside(item)]
    return False


def _inside(item: Any) -> Iterable[Any]:
    if isinstance(item, Mapping):
        return item.values()
    return item if isinstance(item, list | tuple | set | frozenset) else ()


def _depth(text: str) -> int:
    """Return how deep JSON is nested, or a bound that is not too deep.

    Levels are counted breadth first, so that hostile depth cannot exhaust the stack.
    """
    if (bound := text.count("{") + text.count("[")) <= MAX_ATTRS_DEPTH:
        return bound
    depth, level = 0, [_decoded(text)]
    while containers := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in containers for inner in _inside(item)]
    return depth


def _first_line(exc: BaseException) -> str:
    return str(exc).splitlines()[0] if str(exc) else type(exc).__name__
