"""The plain shape of an event, compiled: types and sizes that need no second look.

It may doubt a good event, never vouch for a bad one.  What it leaves open is the moments, the attrs, and whether
text can be expressed in UTF-8.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from auditkit.event.schema import MAX_TEXT_BYTES, TEXT_FIELDS

_FITS = MAX_TEXT_BYTES // 4
"""So many characters fit, whatever they are."""
_Text = Annotated[str, msgspec.Meta(max_length=_FITS)] | None
_Action = Annotated[str, msgspec.Meta(min_length=1, max_length=_FITS)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)] | None
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None
_KINDS: dict[str, Any] = {
    "string": _Text,
    "float": _Finite,
    "integer": _Integer,
    "boolean": bool | None,
    "datetime": None,  # anything but null is doubted
}


def plain_shape(declared: Sequence[tuple[str, str]]) -> type[msgspec.Struct]:
    """Return the class to which `msgspec.convert` brings a plain event, its fields in the order of a row.

    `declared` are the extra fields with the names of their types.
    """
    texts: list[Any] = [(name, _Text, None) for name in TEXT_FIELDS if name != "action"]
    texts.insert(TEXT_FIELDS.index("action"), ("action", _Action, msgspec.NODEFAULT))
    common = [("ts", Any, None), *texts, ("value", _Finite, None), ("attrs", Any, None)]
    others = [(name, _KINDS[kind], None) for name, kind in declared]
    return msgspec.defstruct(
        "PlainEvent", [*common, *others], kw_only=True, forbid_unknown_fields=True, gc=False
    )
