"""Opening a file of records, whatever its format, and knowing how far it has been read.

A reader does not fail on a bad line; it fails only where the file itself cannot be read on (a torn gzip stream, a
Parquet file without a footer).
"""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal, cast

from auditkit.errors import CorruptionError, InvalidArgumentError
from auditkit.sources.csv_records import csv_records
from auditkit.sources.json_records import json_documents, json_lines, looks_like_document
from auditkit.sources.line_records import LineFormat, line_records
from auditkit.sources.otlp_records import otlp_records
from auditkit.sources.records import BUFFER_BYTES, BYTE_ORDER_MARK, Digested, Item, Transcoded
from auditkit.sources.xes_records import xes_records

Format = Literal["json", "jsonl", "csv", "parquet", "text", "xes", "otlp"]
FORMATS: tuple[Format, ...] = ("json", "jsonl", "csv", "parquet", "xes", "otlp")
"""`json` is an object per line, an array, or a document over several lines, whichever it looks like; `jsonl` is
an object per line.  `text` is for presets, which say what its lines look like."""

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xes": "xes",
}
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a file is read, where its format leaves that open."""

    delimiter: str | None = None
    """Of CSV; `None` for what the header says."""
    records: tuple[str, ...] = ()
    """The keys that lead to the records of a JSON document, arrays on the way gone through."""

    lines: LineFormat = field(default_factory=lambda: LineFormat(patterns=("(?P<message>.*)",)))
    """What the lines of text look like."""
    year: int | None = None
    """Of the first line of text whose time names none."""

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise InvalidArgumentError("delimiter", self.delimiter, "not one character")


@dataclass(slots=True, kw_only=True)
class Input:
    """One opened file: iterate over it once; `done` of `total` says how far that is (bytes, or rows)."""

    name: str
    format: Format
    total: int | None
    items: Iterator[Item]
    described: str
    """The same for files that are read in the same way."""
    digest: Callable[[int], str]
    """Returns the SHA-256 of what lies before an item's end; asked for rising ends."""
    raw: IO[bytes] | None = None
    notes: list[str] = field(default_factory=list)
    """What the reader found out about the file."""
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

    @property
    def bytes_done(self) -> int:
        """About how many bytes of the file have been read."""
        return self.raw.tell() if self.raw is not None else 0


def guess_format(path: Path) -> Format | None:
    """Return the format that a file's name says, `None` where it says none.

    >>> guess_format(Path("events.ndjson.gz"))
    'json'
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def format_of_content(head: bytes) -> Format | None:
    """Return the format that the beginning of a file says, `None` where it says none.

    >>> format_of_content(b'{"ts": ')
    'json'
    """
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    begin = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    return "json" if not begin or begin[:1] in (b"{", b"[") else None


def items_of(
    stream: IO[bytes], kind: Format, options: ReadOptions, *, name: str, notes: list[str]
) -> Iterator[Item]:
    """Return the records of a stream of UTF-8 that can be peeked into; what the reader finds out goes into `notes`."""
    if kind == "text":
        return line_records(stream, options.lines, year=options.year)
    if kind == "xes":
        return xes_records(stream, name)
    if kind == "otlp":
        return otlp_records(stream)
    if kind == "csv":
        return csv_records(stream, options.delimiter, notes)
    if options.records or (kind == "json" and looks_like_document(cast("Any", stream).peek(BUFFER_BYTES))):
        return json_documents(stream, options.records)
    return json_lines(stream)


@dataclass(slots=True, kw_only=True)
class Source:
    """A file that is open and not yet read as anything."""

    name: str
    stream: io.BufferedReader
    """Its text, whatever it is packed in."""
    digested: Digested
    encoding: str | None
    total: int | None
    raw: IO[bytes] | None
    path: Path | None

    @property
    def head(self) -> bytes:
        """The beginning of its text; nothing is taken by looking at it."""
        return self.stream.peek(BUFFER_BYTES)

    def read(self, kind: Format, options: ReadOptions | None = None) -> Input:
        """Read it as records."""
        if kind == "parquet":
            return self._rows()
        chosen, notes = options or ReadOptions(), list[str]()
        if kind == "csv" and chosen.delimiter is None and self._is_tsv:
            chosen = replace(chosen, delimiter="\t")
        return Input(
            name=self.name,
            format=kind,
            total=self.total,
            items=items_of(self.stream, kind, chosen, name=self.name, notes=notes),
            described=f"{kind} {chosen} {self.encoding}",
            digest=self.digested.digest,
            raw=self.raw,
            notes=notes,
        )

    @property
    def _is_tsv(self) -> bool:
        return self.path is not None and any(suffix.lower() == ".tsv" for suffix in self.path.suffixes)

    def _rows(self) -> Input:
        from auditkit.sources.parquet_records import (  # pyarrow's Parquet loads only here
            open_parquet,
            parquet_records,
        )

        if self.path is None:
            reason = "cannot be read from a pipe"
            raise InvalidArgumentError("parquet", "standard input", reason, expected="the path of a file")
        file = open_parquet(self.path)
        return Input(
            name=self.name,
            format="parquet",
            total=file.metadata.num_rows,
            items=parquet_records(self.path, file),
            described="parquet",
            digest=_RowDigests(self.path).digest,
        )


class _RowDigests:
    """What stands for the SHA-256 of so many rows of a file that can only be read whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _whole(self) -> str:
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def digest(self, rows: int) -> str:
        """Return the digest of the file and a number of rows."""
        return hashlib.sha256(f"{self._whole} {rows}".encode()).hexdigest()


@contextmanager
def open_source(source: Path | IO[bytes], *, encoding: str | None = None) -> Iterator[Source]:
    """Open a file, or take an open binary stream.

    gzip and UTF-16 are recognised by their first bytes; any other `encoding` than UTF-8 has to be named.  Raises
    `OSError` where the file cannot be opened, `ValueError` for an encoding that Python does not know.
    """
    with ExitStack() as stack:
        path = source if isinstance(source, Path) else None
        raw = stack.enter_context(path.open("rb")) if path is not None else cast("IO[bytes]", source)
        size = os.fstat(raw.fileno()).st_size if path is not None and path.is_file() else None
        stream: Any = raw if hasattr(raw, "peek") else io.BufferedReader(cast("io.RawIOBase", raw))
        if stream.peek(2)[:2] == _GZIP_MAGIC:
            stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
        try:
            if encoding is None and stream.peek(2)[:2] in _UTF_16:
                encoding = "utf-16"
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise CorruptionError(
                Path(str(path or "standard input")), offset=None, reason="no whole gzip stream"
            ) from exc
        if encoding is not None:
            try:
                stream = io.BufferedReader(
                    Transcoded(stream, encoding, str(path or "standard input")), BUFFER_BYTES
                )
            except LookupError as exc:
                raise InvalidArgumentError("encoding", encoding, "unknown") from exc
        digested = Digested(stream)
        yield Source(
            name="standard input" if path is None else str(path),
            stream=io.BufferedReader(digested, BUFFER_BYTES),
            digested=digested,
            encoding=encoding,
            total=size,
            raw=None if size is None else raw,
            path=path,
        )


@contextmanager
def open_input(source: Path | IO[bytes], kind: Format, options: ReadOptions | None = None) -> Iterator[Input]:
    """Open a file, or take an open binary stream, as records; see `open_source`.

    Raises `CorruptionError` where it is not what its format says, and `ValueError` for Parquet from a stream and a CSV
    header that cannot be read.
    """
    with open_source(source) as opened:
        yield opened.read(kind, options)
