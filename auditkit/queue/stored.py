"""Events by their seqs, wherever they lie: in the queue's files or in segments.

What the idempotency index reads.  It works in a forked child too, where Polars has lost its threads: columns are
looked at one by one, and frames are neither filtered nor joined here.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct, field

from auditkit.arrow import Numbers, to_numpy
from auditkit.disk.durable import Disk
from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError
from auditkit.event import EventSchema
from auditkit.queue.decoding import columns_of, keys_in
from auditkit.queue.frames import COMMIT_MARK, HEADER_BYTES, NEXT_FILE, Frame, parse_frames
from auditkit.queue.recovery import durable_end_of, written_end
from auditkit.store.catalog import CurrentCatalog
from auditkit.store.files import SegmentFiles, retrying
from auditkit.store.records import CatalogView, SegmentRow

Texts: TypeAlias = Sequence[str | None] | pl.Series
KeyColumns: TypeAlias = tuple[Numbers, Texts | None, Texts]
"""Seqs, sources (`None`: none has one) and ids of events."""
_Wanted: TypeAlias = range | Numbers
"""Seqs: a range of them, or some in ascending order."""


class _Places(Struct):
    """Where the committed frames with events lie in one queue file, up to `end`."""

    inode: int
    end: int = HEADER_BYTES
    seqs: "array[int]" = field(default_factory=lambda: array("Q"))
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))


class StoredEvents:
    """The events of one trail, read by seq; the caller holds the queue's lock where the queue is read."""

    def __init__(
        self,
        disk: Disk,
        layout: Layout,
        *,
        trail_id: bytes,
        schema: EventSchema,
        catalog: CurrentCatalog,
        files: SegmentFiles,
    ) -> None:
        self.schema = schema
        self._disk = disk
        self._layout = layout
        self._trail_id = trail_id
        self._catalog = catalog
        self._files = files
        self._places: dict[int, _Places] = {}  # guarded by the lock on queue.lock

    def flushed_seq(self) -> int:
        """Return the seq before which events are in segments, or were pruned."""
        return self._catalog.read().flushed_seq

    def sealed_keys(self, first: int, end: int) -> Iterator[KeyColumns]:
        """Yield the sources and ids of the events in segments with seqs `[first, end)`, in any order."""
        return self._keys_in(self._catalog.read(), range(first, end))

    def keys(self, first: int, end: int) -> Iterator[KeyColumns]:
        """Yield the sources and ids of the events with seqs `[first, end)`, as far as they are there, in any order."""
        wanted = range(first, end)
        queued = [
            (np.arange(frame.seq, frame.seq + frame.count), *found)
            for frame, path in self._queued(wanted)
            if (found := keys_in(frame, self.schema, path)) is not None
        ]
        catalog = self._later_catalog()
        yield from self._keys_in(catalog, wanted)
        for seqs, sources, ids in queued:
            chosen = np.flatnonzero(_chosen(wanted, seqs) & (seqs >= catalog.flushed_seq))
            if len(chosen) == len(seqs):
                yield seqs, sources, ids
            elif len(chosen):
                some = slice(int(chosen[0]), int(chosen[-1]) + 1)
                yield seqs[some], None if sources is None else sources[some], ids[some]

    def _keys_in(self, catalog: CatalogView, wanted: range) -> Iterator[KeyColumns]:
        for row in catalog.segments:
            if "id" not in msgspec.json.decode(row.empty_columns):
                for seqs, (source, key) in self._sealed(row, wanted, ("source", "id")):
                    yield seqs, source, key

    def rows(self, seqs: Numbers) -> tuple[Numbers, list[pl.Series]]:
        """Return those of some seqs (ascending) whose events are there, with their row columns, times as numbers."""
        return retrying(lambda: self._rows(seqs))

    def _rows(self, seqs: Numbers) -> tuple[Numbers, list[pl.Series]]:
        names = self.schema.row_columns
        pieces: list[tuple[Numbers, list[pl.Series]]] = []
        queued = list(self._queued(seqs))
        catalog = self._later_catalog()
        for row in catalog.segments:
            pieces += self._sealed(row, seqs, names)
        for frame, path in queued:
            found = np.arange(frame.seq, frame.seq + frame.count)
            chosen = _chosen(seqs, found) & (found >= catalog.flushed_seq)
            if chosen.any():
                columns = columns_of(frame, self.schema, path)
                pieces.append((found[chosen], [column.filter(pl.Series(chosen)) for column in columns]))
        if not pieces:
            return np.array([], dtype="<i8"), [pl.Series(name, [], dtype=pl.Null) for name in names]
        order = np.argsort(found := np.concatenate([piece[0] for piece in pieces]))
        columns = [pl.concat([piece[1][at] for piece in pieces])[order] for at in range(len(names))]
        return found[order], columns

    def _later_catalog(self) -> CatalogView:
        """Return the catalog, read after the queue was: what a flush moved in between is then in segments."""
        names = (
            self._layout.queue_files()
        )  # listed first: a flush meanwhile lets the catalog say more, never less
        catalog = self._catalog.read()
        if not names or names[0] > catalog.flushed_seq:
            reason = f"seqs from {catalog.flushed_seq} on are neither queued nor in segments"
            raise CorruptionError(self._layout.queue, offset=None, reason=reason)
        return catalog

    def _sealed(
        self, row: SegmentRow, wanted: _Wanted, names: Sequence[str]
    ) -> list[tuple[Numbers, list[pl.Series]]]:
        """Return the wanted events of one segment, read in batches that may hold some."""
        if not _has_some(wanted, row.first_seq, row.last_seq):
            return []
        numbers = [
            number for number, part in enumerate(row.parts) if _has_some(wanted, part.min_seq, part.max_seq)
        ]
        if not numbers:
            return []
        segment, pieces = self._files.open(row), []
        for number in numbers:
            batch = segment.batch(number, ("seq", *names))
            seqs = to_numpy(batch.column("seq"))[0].astype("<i8")
            chosen = _chosen(wanted, seqs)
            if chosen.any():
                columns = [_plain(name, batch.column(name)) for name in names]
                mask = None if chosen.all() else pl.Series(chosen)
                pieces.append(
                    (seqs[chosen], columns if mask is None else [column.filter(mask) for column in columns])
                )
        return pieces

    def _queued(self, wanted: _Wanted) -> Iterator[tuple[Frame, Path]]:
        """Yield the committed frames of the queue that hold wanted events."""
        names = self._layout.queue_files()
        for first, next_file in zip_longest(names, names[1:]):
            last = (1 << 62) if next_file is None else next_file - 1
            if not _has_some(wanted, first, last):
                continue
            path = self._layout.queue_file(first)
            try:
                fd = self._disk.open(path)
            except FileNotFoundError:  # flushed and dropped since the listing
                continue
            try:
                places = self._read_on(fd, path, first, next_file)
                begins = np.frombuffer(places.seqs, dtype="<u8").astype("<i8")
                ends = np.append(begins[1:], 1 << 62)
                for at in range(len(begins)):
                    if _has_some(wanted, int(begins[at]), int(ends[at]) - 1):
                        end = places.offsets[at + 1] if at + 1 < len(begins) else places.end
                        data = self._disk.read(fd, end - places.offsets[at], places.offsets[at])
                        yield next(parse_frames(data, places.offsets[at])), path
            finally:
                self._disk.close(fd)

    def _read_on(self, fd: int, path: Path, first: int, next_file: int | None) -> _Places:
        """Return where the frames of a file lie, having read those that were committed since the last time."""
        places, inode = self._places.get(first), self._disk.status(fd).st_ino
        size = self._disk.size(fd)
        if places is None or places.inode != inode or places.end > size:
            places = self._places[first] = _Places(inode=inode)
        # What lies beyond the durable end of a file whose sync failed was never accepted.
        durable = durable_end_of(self._disk, self._layout, self._trail_id, first, next_file)
        size = written_end(self._disk, fd, places.end, size, path)
        end = size if durable is None else min(size, durable)
        data = self._disk.read(fd, max(0, end - places.end), places.end)
        frames = list(parse_frames(data, places.end))
        read = frames[-1].end if frames else places.end
        if durable is not None and read < durable:
            raise CorruptionError(path, offset=read, reason="damaged frame among durable ones")
        while durable is None and frames and frames[-1].kind not in (COMMIT_MARK, NEXT_FILE):
            frames.pop()
        for frame in frames:
            if frame.count:
                places.seqs.append(frame.seq)
                places.offsets.append(frame.offset)
            places.end = frame.end
        return places


def _plain(name: str, values: pa.Array) -> pl.Series:
    """Return a column of a segment with plain text, and times as numbers."""
    column = pl.Series(name, values.dictionary_decode() if pa.types.is_dictionary(values.type) else values)
    return column.to_physical() if isinstance(column.dtype, pl.Datetime) else column


def _has_some(wanted: _Wanted, low: int, high: int) -> bool:
    """Return whether some of the wanted seqs lie between two, both included."""
    if isinstance(wanted, range):
        return low < wanted.stop and high >= wanted.start and len(wanted) > 0
    at = int(np.searchsorted(wanted, low))
    return at < len(wanted) and bool(wanted[at] <= high)


def _chosen(wanted: _Wanted, seqs: Numbers) -> Numbers:
    """Return which of some seqs are wanted."""
    if isinstance(wanted, range):
        return (seqs >= wanted.start) & (seqs < wanted.stop)
    places = np.minimum(np.searchsorted(wanted, seqs), len(wanted) - 1)
    return wanted[places] == seqs
