"""Presets: how the records of a well-known kind become events, as data.

A preset is a reader with its options, and a mapping.  What the command line adds goes before it: paths of a field are
tried first, constants and values take the place of the preset's.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from auditkit.errors import AuditError
from auditkit.sources.readers import Format, ReadOptions, items_of
from auditkit.sources.records import Record
from auditkit.where import parse_path

_LOOKED_AT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How records of one kind become events."""

    name: str
    title: str
    """What it reads, in a few words."""
    format: Format
    options: ReadOptions = field(default_factory=ReadOptions)
    paths: tuple[tuple[str, str], ...]
    """Pairs of a field and a path; several paths of a field are tried in turn."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """What a field is where no path leads to a value."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of a field, which words of the records are written how in events."""
    ts_form: str = "iso"
    """As `--ts-format`."""
    tz: str | None = None
    """The zone of times that name none, where the format says which."""
    attrs: str | None = None
    """The path of what becomes attrs; `None` for the whole record."""
    needs: tuple[str, ...]
    """Every record of the kind has a value at each of these paths: by that it is recognised."""
    example: str
    """A record as it stands in a file."""


def recognise(head: bytes) -> Preset | None:
    """Return the first preset that reads the records at the beginning of a file, `None` where none does."""
    return next((preset for preset in PRESETS.values() if _fits(preset, head)), None)


def _fits(preset: Preset, head: bytes) -> bool:
    stream = io.BufferedReader(io.BytesIO(head), max(1, len(head)))
    try:
        items = list(islice(items_of(stream, preset.format, preset.options, name="", notes=[]), _LOOKED_AT))
    except (ValueError, AuditError):  # no header, no XML
        return False
    records = [item for item in items if isinstance(item, Record)]
    # The last one may be cut where the look at the file ends.
    return len(records) >= max(1, len(items) - 1) and all(_has(record, preset.needs) for record in records)


def _has(record: Record, needs: tuple[str, ...]) -> bool:
    return all(parse_path(path).find(record.fields) is not None for path in needs)


_ALL = (
    Preset(
        name="auditkit",
        title="what `auditkit range --json` writes",
        format="json",
        paths=(
            ("ts", "ts"),
            ("actor", "actor"),
            ("action", "action"),
            ("resource", "resource"),
            ("outcome", "outcome"),
            ("source", "source"),
            ("origin", "origin"),
            ("correlation", "correlation"),
            ("id", "id"),
            ("value", "value"),
        ),
        attrs="attrs",
        needs=("ts", "recorded", "action"),
        example='{"seq":0,"ts":"2026-11-24T07:00:00Z","recorded":"2026-11-24T07:00:01Z","actor":"ann","action":"doc.read",'
        '"id":"k1","attrs":{"order":7}}',
    ),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}
"""All presets, in the order in which they are tried."""
