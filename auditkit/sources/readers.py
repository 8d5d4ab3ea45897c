"""Opening a file of records, whatever its format, and knowing how far it has been read.

A reader does not fail on a bad line; it fails only where the file itself cannot be read on (a torn gzip stream, a
Parquet file without a footer).
"""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from auditkit.errors import CorruptionError
from auditkit.sources.csv_records import csv_records
from auditkit.sources.json_records import Item, json_lines

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(slots=True, kw_only=True)
class Input:
    """One opened file: iterate over it once; `done` of `total` says how far that is (bytes, or rows)."""

    name: str
    format: Format
    total: int | None
    items: Iterator[Item]
    raw: IO[bytes] | None = None
    line: int = 0
    """The line (or row) that was read last."""

    def __iter__(self) -> Iterator[Item]:
        """Yield the records and unreadable lines, in the order of the file."""
        try:
            for item in self.items:
                self.line = item.line
                yield item
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise CorruptionError(
                Path(self.name), offset=None, reason=f"gzip stream breaks off after line {self.line}"
            ) from exc

    @property
    def done(self) -> int:
        """How much of `total` has been read."""
        return self.line if self.raw is None else self.raw.tell()


def guess_format(path: Path) -> Format | None:
    """Return the format that a file's name says, `None` where it says none.

    >>> guess_format(Path("events.ndjson.gz"))
    'jsonl'
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


@contextmanager
def open_input(source: Path | IO[bytes], kind: Format, *, delimiter: str | None = None) -> Iterator[Input]:
    """Open a file, or take an open binary stream, as records.

    gzip is recognised by its first bytes.  `delimiter` is for CSV (default: a comma, a tab for `.tsv`).  Raises
    `OSError` where the file cannot be opened, `CorruptionError` where it is not what its format says, `ValueError`
    for Parquet from a stream and for a delimiter of several characters.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise ValueError(f"delimiter: not one character (found {delimiter!r})")
    with ExitStack() as stack:
        if not isinstance(source, Path):
            yield _text_input("standard input", kind, source, None, delimiter or ",", stack)
        elif kind == "parquet":
            yield _parquet_input(source, stack)
        else:
            raw = stack.enter_context(source.open("rb"))
            tabs = any(suffix.lower() == ".tsv" for suffix in source.suffixes)
            size = os.fstat(raw.fileno()).st_size if source.is_file() else None
            yield _text_input(str(source), kind, raw, size, delimiter or ("\t" if tabs else ","), stack)


def _text_input(
    name: str, kind: Format, raw: IO[bytes], size: int | None, delimiter: str, stack: ExitStack
) -> Input:
    if kind == "parquet":
        raise ValueError("parquet: cannot be read from a pipe (expected the path of a file)")
    stream: Any = raw if hasattr(raw, "peek") else io.BufferedReader(cast("io.RawIOBase", raw))
    if stream.peek(2)[:2] == _GZIP_MAGIC:
        stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
    items = json_lines(stream) if kind == "jsonl" else csv_records(stream, delimiter)
    return Input(name=name, format=kind, total=size, items=items, raw=None if size is None else raw)


def _parquet_input(path: Path, stack: ExitStack) -> Input:
    from auditkit.sources.parquet_records import (  # pyarrow's Parquet loads only here
        open_parquet,
        parquet_records,
    )

    file = stack.enter_context(open_parquet(path))
    return Input(
        name=str(path), format="parquet", total=file.metadata.num_rows, items=parquet_records(path, file)
    )
