"""Backups: a consistent, verified copy of a trail while other processes write to it.

The queue is read first and the catalog second, as in a query's snapshot; segments never change, so they are copied
at leisure and checked against their digests on the way.  The copy is the same trail until something is appended to it:
then it takes on an identity of its own, so that two histories never pass as one.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from auditkit.api import Trail
from auditkit.disk.durable import publish, write_temporary
from auditkit.disk.inside import read_file
from auditkit.disk.layout import TEMPORARY_SUFFIX, Layout, Modes
from auditkit.display.progress import BYTES, tracked
from auditkit.errors import CorruptionError, TrailExistsError
from auditkit.opening import open_trail
from auditkit.queue.consumers import MOST_BYTES
from auditkit.queue.dead_letters import MOST_LINE_BYTES, endless_line
from auditkit.queue.frames import HEADER_BYTES, FileHeader, pack_header, parse_frames, unpack_header
from auditkit.queue.fsync_failure import FailureNote, pack_note
from auditkit.store.catalog import copy_catalog, read_catalog, refuse_unknown_features, replace_info
from auditkit.store.files import open_segment, retrying
from auditkit.store.records import RollupRow, SegmentRow
from auditkit.store.rollups import publish_store, read_store, remove_store
from auditkit.text import counted
from auditkit.trail.handle import Handle, open_handle

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary:
    """What `ak.backup` copied; `print` shows it in a line.

    Attributes
    ----------
    path : Path
        The directory of the copy.
    end_seq : int
        The exclusive end of the seqs that it holds.
    segments : int
        How many segments it holds; what is in none of them is in its queue.
    bytes : int
        The size of the segments.
    """

    path: Path
    end_seq: int
    segments: int
    bytes: int

    def __str__(self) -> str:
        held = f"{counted(self.end_seq, 'event')} in {counted(self.segments, 'segment')} and the queue"
        return f"copied {held}, {self.bytes:,} bytes, to {self.path}"


def backup(trail: Trail | str | Path, target: str | Path) -> BackupSummary:
    """Copy a trail into a new or empty directory while other processes may append, flush and prune.

    On return the copy is durable, and the digest of every segment and rollup in it was checked.  If it raises, `target` is no trail.
    The copy is the same trail until something is appended to it; then it becomes a branch with an id of its own that names
    its parent.  It is a whole trail, to be opened where it lies; to restore it, copy it back to the trail's place with this
    same function.

    Parameters
    ----------
    trail : Trail, str or Path
        The trail, open or by its directory.
    target : str or Path
        Directory of the copy.

    Returns
    -------
    BackupSummary
        `path`, `end_seq` (exclusive), `segments` and `bytes`.

    Raises
    ------
    TrailExistsError
        `target` holds anything.
    CorruptionError
        A segment is not what was written.
    FormatError
        The trail has features that this version does not know.
    StorageError
        The copy could not be written.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> trail.append(action="doc.read").wait()
    0
    >>> ak.backup(trail, tempfile.mkdtemp()).end_seq
    1
    """
    handle = (trail if isinstance(trail, Trail) else open_trail(trail)).handle
    layout = Layout(Path(target).absolute())
    if layout.root.exists() and (not layout.root.is_dir() or any(layout.root.iterdir())):
        raise TrailExistsError(f"{target}: not an empty directory")
    refuse_unknown_features(handle.layout.catalog, handle.reader.catalog.read())
    copy = _Copy(handle, layout)
    retrying(copy.make)
    return copy.finish()


class _Copy:
    """One copy in the making; `make` may be called again where a segment vanished under it."""

    def __init__(self, handle: Handle, layout: Layout) -> None:
        self._handle = handle
        self._layout = layout
        self._disk = handle.disk
        self._modes: Modes = handle.modes
        self._catalog = layout.catalog.with_suffix(TEMPORARY_SUFFIX)
        self._branch_id = secrets.token_hex(16)
        self._segments: list[SegmentRow] = []
        self._consumers: dict[str, bytes] = {}

    def make(self) -> None:
        """Copy everything but the catalog's final name."""
        self._layout.root.parent.mkdir(parents=True, exist_ok=True)
        for folder in self._layout.directories():
            self._disk.make_directory(folder, self._modes.directory)
        # Consumers first: what they have acknowledged is then in what is copied after them.
        self._consumers = {
            path.name: read_file(path, self._handle.layout.root, most=MOST_BYTES)
            for _, path in self._handle.layout.consumer_files()
        }
        queue = self._handle.reader.tail.committed_files()
        self._disk.unlink(self._catalog)
        copy_catalog(self._handle.layout.catalog, self._catalog)
        view = read_catalog(self._catalog)
        replace_info(self._catalog, replace(view.info, branch_id=self._branch_id))
        self._segments = list(view.segments)
        self._write_queue(queue, view.flushed_seq)
        self._copy_segments()
        self._copy_rollups(view.rollups)

    def finish(self) -> BackupSummary:
        """Copy what has no order, make everything durable, and let the copy be a trail."""
        for lock, content in (
            (self._layout.queue_lock, pack_note(FailureNote())),
            (self._layout.maint_lock, b""),
        ):
            write_temporary(self._disk, lock, content, self._modes.lock)
        for _, letters in self._handle.layout.letter_files():
            self._copy_lines(letters, self._layout.dead_letters / letters.name)
        if self._consumers:
            self._disk.make_directory(self._layout.consumers, self._modes.directory)
            for name, content in self._consumers.items():
                write_temporary(self._disk, self._layout.consumers / name, content, self._modes.file)
            self._disk.sync_directory(self._layout.consumers)
        for folder in (*self._layout.directories(), *self._layout.segments.iterdir()):
            self._disk.sync_directory(folder)
        self._catalog.chmod(self._modes.file)
        publish(self._disk, self._catalog, self._layout.catalog)
        self._disk.sync_directory(self._layout.root.parent)
        copy = open_handle(
            self._layout.root,
            disk=self._disk,
            clock=self._handle.clock,
            maintains=False,
            limits=self._handle.limits,
        )
        return BackupSummary(
            path=self._layout.root,
            end_seq=copy.reader.snapshot().committed_seq,
            segments=len(self._segments),
            bytes=sum(row.size_bytes for row in self._segments),
        )

    def _write_queue(self, files: dict[int, bytes], flushed_seq: int) -> None:
        """Write the queue's files under the copy's own id; those that the catalog has whole are left out."""
        for stale in self._layout.queue_files():
            self._disk.unlink(self._layout.queue_file(stale))
        kept = {first: data for first, data in files.items() if _end_seq(data, first) >= flushed_seq}
        if not kept:
            recorded_us = self._last_recorded(files)
            header = FileHeader(trail_id=bytes(16), first_seq=flushed_seq, recorded_us=recorded_us)
            kept = {flushed_seq: pack_header(header)}
        for first, data in kept.items():
            path = self._layout.queue_file(first)
            header = replace(unpack_header(data, path), trail_id=bytes.fromhex(self._branch_id))
            write_temporary(self._disk, path, pack_header(header) + data[HEADER_BYTES:], self._modes.file)

    def _last_recorded(self, files: dict[int, bytes]) -> int:
        flushes = read_catalog(self._catalog).flushes
        heads = [
            unpack_header(data, self._layout.queue_file(first)).recorded_us for first, data in files.items()
        ]
        return max([*heads, flushes[-1].last_recorded_us if flushes else 0])

    def _copy_segments(self) -> None:
        named = {row.path for row in self._segments}
        for path in self._layout.segments.glob("*/*"):
            if str(path.relative_to(self._layout.segments)) not in named:
                self._disk.unlink(path)  # pruned since an earlier attempt
        for row in tracked(self._segments, "copying", BYTES, lambda row: row.size_bytes):
            self._copy_segment(row)

    def _copy_rollups(self, rows: Sequence[RollupRow]) -> None:
        named = {row.path for row in rows}
        for path in self._layout.rollup_stores():
            if path not in named:  # replaced since an earlier attempt
                remove_store(self._disk, self._layout, self._layout.rollups / path)
        for row in rows:
            files = read_store(self._handle.layout, row)
            publish_store(self._disk, self._layout, self._modes, row.path, files)

    def _copy_segment(self, row: SegmentRow) -> None:
        target = self._layout.segment_file(row.path)
        if target.exists():
            return  # whole: it was written before a later one vanished
        source, opened = open_segment(self._handle.layout, row)
        try:
            self._copy_checked(row, source, opened, target)
        finally:
            self._disk.close(opened)

    def _copy_checked(self, row: SegmentRow, source: Path, opened: int, target: Path) -> None:
        self._disk.make_directory(target.parent, self._modes.directory)
        temporary = target.with_suffix(TEMPORARY_SUFFIX)
        self._disk.unlink(temporary)
        digest = hashlib.sha256()
        with self._written(temporary) as fd:
            for offset, piece in self._pieces(opened):
                digest.update(piece)
                self._disk.write(fd, piece, offset)
            if digest.digest() != row.sha256:
                raise CorruptionError(
                    source,
                    offset=None,
                    reason=f"digest differs from the catalog's (seqs {row.first_seq} to {row.last_seq})",
                )
        self._disk.rename(temporary, target)

    def _copy_lines(self, source: Path, target: Path) -> None:
        """Copy a file up to the end of its last whole line: more may be written to it meanwhile."""
        end, opened = 0, self._disk.open(source)
        try:
            with self._written(target) as fd:
                for offset, piece in self._pieces(opened):
                    if offset + len(piece) - end > MOST_LINE_BYTES:
                        raise endless_line(source, end)
                    self._disk.write(fd, piece, offset)
                    end = offset + piece.rfind(b"\n") + 1 if b"\n" in piece else end
                self._disk.truncate(fd, end)
        finally:
            self._disk.close(opened)

    @contextmanager
    def _written(self, path: Path) -> Iterator[int]:
        """Create a file and give its descriptor; durable once the block ends."""
        fd = self._disk.open(path, write=True, create_mode=self._modes.file)
        try:
            yield fd
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)

    def _pieces(self, fd: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of an open file that may be larger than memory."""
        offset = 0
        while piece := self._disk.read(fd, _PIECE_BYTES, offset):
            yield offset, piece
            offset += len(piece)


def _end_seq(data: bytes, first_seq: int) -> int:
    """Return the exclusive end of the seqs that the bytes of a queue file go up to."""
    end = first_seq
    for frame in parse_frames(data[HEADER_BYTES:], HEADER_BYTES):
        end = frame.seq + frame.count
    return end
