"""The columns of an event, and the bounds of what they may hold."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import polars as pl

from auditkit.errors import InvalidArgumentError

UTC_MICROSECONDS = pl.Datetime("us", "UTC")
OWN_SOURCE = "auditkit"
"""The source of the trail's own events; producers cannot use it."""

SCHEMA: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "seq": pl.UInt64(),
        "ts": UTC_MICROSECONDS,
        "recorded": UTC_MICROSECONDS,
        "actor": pl.String(),
        "action": pl.String(),
        "resource": pl.String(),
        "outcome": pl.String(),
        "source": pl.String(),
        "origin": pl.String(),
        "correlation": pl.String(),
        "id": pl.String(),
        "value": pl.Float64(),
        "attrs": pl.String(),
    }
)
"""The columns every trail has, as they leave it."""

DICTIONARY_COLUMNS = ("actor", "action", "outcome", "source", "origin")
"""Stored as dictionaries and grouped on them; they leave a trail as `String`."""

TEXT_FIELDS = ("actor", "action", "resource", "outcome", "source", "origin", "correlation", "id")
FIELD_TYPES: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "boolean": pl.Boolean(),
        "integer": pl.Int64(),
        "float": pl.Float64(),
        "string": pl.String(),
        "datetime": UTC_MICROSECONDS,
    }
)
"""What a declared extra field may be, by the name the catalog and the command line use."""

RESERVED_NAMES = ("text",)
"""What no declared field may be called: conditions look for words under this key."""

MAX_TEXT_BYTES = 64 * 1024
MAX_ATTRS_BYTES = 1024 * 1024
MAX_ATTRS_DEPTH = 64
FIRST_US = -2_208_988_800_000_000
"""1900-01-01 UTC."""
LAST_US = 7_289_654_400_000_000
"""2201-01-01 UTC, exclusive."""


def check_fields(fields: Mapping[str, Any]) -> dict[str, pl.DataType]:
    """Return declared extra fields as name → dtype; a bad name or type is a `ValueError`.

    Names are lower-case identifiers that no event column has, nor a condition of another kind; types are Boolean, Int64, Float64, String and
    Datetime("us", "UTC").
    """
    checked = {}
    allowed = list(FIELD_TYPES.values())
    for name, dtype in fields.items():
        is_identifier = name.isidentifier() and name.islower() and name.isascii()
        if not is_identifier or name in SCHEMA or name in RESERVED_NAMES:
            raise InvalidArgumentError("fields", name, "bad name", expected="a new lower-case identifier")
        kind = dtype() if isinstance(dtype, type) else dtype
        if kind not in allowed:
            raise InvalidArgumentError(
                f"fields: {name}",
                dtype,
                "unsupported type",
                expected="Boolean, Int64, Float64, String or Datetime('us', 'UTC')",
            )
        checked[name] = kind
    return checked


def field_type_name(dtype: pl.DataType) -> str:
    """Return the catalog's name of a declared field's type."""
    return next(name for name, known in FIELD_TYPES.items() if known == dtype)
