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
from auditkit.event.validate import ID_AT, SOURCE_AT, EventSchema, Row, Rules

__all__ = [
    "DICTIONARY_COLUMNS",
    "FIELD_TYPES",
    "FIRST_US",
    "ID_AT",
    "LAST_US",
    "MAX_ATTRS_BYTES",
    "MAX_ATTRS_DEPTH",
    "MAX_TEXT_BYTES",
    "OWN_SOURCE",
    "SCHEMA",
    "SOURCE_AT",
    "TEXT_FIELDS",
    "UTC_MICROSECONDS",
    "EventSchema",
    "Row",
    "Rules",
    "check_fields",
    "field_type_name",
]
