"""The event: its schema, and what may become one, row by row or column by column."""

from auditkit.event.schema import (
    DICTIONARY_COLUMNS,
    FIELD_TYPES,
    FIRST_US,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_ATTRS_DEPTH,
    MAX_TEXT_BYTES,
    OWN_SOURCE,
    SCHEMA,
    TEXT_FIELDS,
    UTC_MICROSECONDS,
    check_fields,
    field_type_name,
)
from auditkit.event.validate import BODY_BYTES, KEY_BYTES, EventSchema, Row, Rules, token_of

__all__ = [
    "BODY_BYTES",
    "DICTIONARY_COLUMNS",
    "FIELD_TYPES",
    "FIRST_US",
    "KEY_BYTES",
    "LAST_US",
    "MAX_ATTRS_BYTES",
    "MAX_ATTRS_DEPTH",
    "MAX_TEXT_BYTES",
    "OWN_SOURCE",
    "SCHEMA",
    "TEXT_FIELDS",
    "UTC_MICROSECONDS",
    "EventSchema",
    "Row",
    "Rules",
    "check_fields",
    "field_type_name",
    "token_of",
]
