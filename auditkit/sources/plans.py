"""How the files of one import are read: what was asked for, put together with a preset.

A preset is named, or found by looking at the beginning of a file.  What was asked for goes before what it says.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NamedTuple

import polars as pl

from auditkit.sources.mapping import EventMap, plan_mapping
from auditkit.sources.presets import PRESETS, Preset, read_options, recognise
from auditkit.sources.readers import (
    FORMATS,
    Format,
    Input,
    ReadOptions,
    Source,
    format_of_content,
    guess_format,
    open_source,
)
from auditkit.timerange import OnAmbiguous
from auditkit.where import parse_path

AUTO = "auto"


class UnknownFormatError(ValueError):
    """Neither the name of a file nor its content says what it is."""


class Opened(NamedTuple):
    """A file that is ready to be read, what becomes of its records, and the preset that says so."""

    input: Input
    mapping: EventMap
    preset: Preset | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What was asked for: see `plan_mapping`, `ReadOptions` and `open_source`.

    `preset` is a name, `"auto"` for one that has to be found, or `None` for one that may be found where nothing is mapped.
    """

    paths: Sequence[tuple[str, str]] = ()
    constants: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fields: Mapping[str, pl.DataType] = field(default_factory=dict)
    tz: str | None = None
    ts_formats: Sequence[str] = ()
    on_ambiguous: OnAmbiguous = "first"
    decimal: str | None = None
    preset: str | None = None
    kind: Format | None = None
    delimiter: str | None = None
    records: str | None = None
    encoding: str | None = None
    year: int | None = None

    def mapping(self, preset: Preset | None = None) -> EventMap:
        """Return what becomes of records; raises `ValueError` for what cannot be mapped."""
        constants, values = dict(self.constants), dict(self.values)
        if preset is not None:
            constants = {**preset.constants, **constants}
            values = {
                name: {**preset.values.get(name, {}), **values.get(name, {})}
                for name in {*preset.values, *values}
            }
        return plan_mapping(
            self.paths,
            constants,
            offered=() if preset is None else preset.paths,
            values=values,
            attrs=None if preset is None else preset.attrs,
            fields=self.fields,
            tz=self.tz or (None if preset is None else preset.tz),
            ts_format=self.ts_formats or ("iso" if preset is None else preset.ts_form),
            on_ambiguous=self.on_ambiguous,
            decimal=self.decimal,
        )

    @contextmanager
    def open(self, file: Path | IO[bytes]) -> Iterator[Opened]:
        """Open a file, or take an open binary stream.

        Raises `UnknownFormatError` where it is not known what it is, or where no preset is found though one was asked
        for, and what `open_source` and `Source.read` raise.
        """
        with open_source(file, encoding=self.encoding) as source:
            preset = self._preset(source)
            kind = self.kind or (None if preset is None else preset.format) or _kind(source)
            options = ReadOptions() if preset is None else read_options(preset, source.head)
            yield Opened(source.read(kind, self._options(options)), self.mapping(preset), preset)

    def _preset(self, source: Source) -> Preset | None:
        if self.preset is not None and self.preset != AUTO:
            return PRESETS[self.preset]
        if self.preset is None and (self.paths or self.constants or self.values or self.kind or self.records):
            return None
        found = recognise(source.head)
        if found is None and self.preset == AUTO:
            raise UnknownFormatError(f"{source.name}: no preset reads it (`auditkit presets` lists them)")
        return found

    def _options(self, options: ReadOptions) -> ReadOptions:
        if self.delimiter is not None:
            options = replace(options, delimiter=self.delimiter)
        if self.records is not None:
            options = replace(options, records=parse_path(self.records, name="records").keys)
        return options if self.year is None else replace(options, year=self.year)


def _kind(source: Source) -> Format:
    named = None if source.path is None else guess_format(source.path)
    kind = named or format_of_content(source.head)
    if kind is None:
        known = ", ".join(FORMATS)
        raise UnknownFormatError(
            f"{source.name}: of no known format (expected --format {known}, or --preset)"
        )
    return kind


def files_in(place: Path) -> list[Path]:
    """Return a file, or all files in a folder and those below it, in the order of their names; hidden ones are left out."""
    if not place.is_dir():
        return [place]
    found = sorted(path for path in place.rglob("*") if path.is_file())
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(place).parts)]
