"""A failed fsync of the queue, noted for all processes of this boot.

The note is the content of `queue.lock`, written once when the trail is created and only overwritten in place
afterwards, so that noting a failure allocates nothing even on a full disk.  It needs no durability: after a crash
of the system the page cache is gone, and what storage really holds is what recovery finds.
"""

import struct
import zlib
from pathlib import Path

from msgspec import Struct

from auditkit.disk.durable import Disk

_NOTE = struct.Struct("<8sQQQI")
_MAGIC = b"AKLOCK\n\0"
NOTE_BYTES = _NOTE.size
NO_FILE = (1 << 64) - 1
"""`first_seq` while no file is waiting to be replaced."""


class FailureNote(Struct, frozen=True, kw_only=True):
    """How often a sync failed (`epoch`), and the file (by first seq) and durable end of the last time."""

    epoch: int = 0
    first_seq: int = NO_FILE
    durable_end: int = 0


def pack_note(note: FailureNote) -> bytes:
    """Return the content of `queue.lock`."""
    head = _NOTE.pack(_MAGIC, note.epoch, note.first_seq, note.durable_end, 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head))


def read_note(disk: Disk, fd: int) -> FailureNote:
    """Return the note in an open `queue.lock`; see `unpack_note`."""
    return unpack_note(disk.read(fd, NOTE_BYTES, 0))


def unpack_note(data: bytes) -> FailureNote:
    """Return the note in the content of `queue.lock`; anything unreadable counts as no failure noted."""
    if len(data) < NOTE_BYTES or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        return FailureNote()
    _, epoch, first, end, _ = _NOTE.unpack(data)
    return FailureNote(epoch=epoch, first_seq=first, durable_end=end)


class FailureWatch:
    """The note as one writer sees it: whether a sync failed since it was opened, and how to note one."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._fd = disk.open(path, write=True)
        self.is_closed = False
        self.unwritten: FailureNote | None = None
        """A failure that could not even be noted."""
        self.refresh()

    def has_failed(self) -> bool:
        """Return whether a sync of any process failed since this object was made or refreshed."""
        content = self._disk.read(self._fd, NOTE_BYTES, 0)
        return content != self._content and unpack_note(content).epoch != self._epoch

    def refresh(self) -> None:
        """Look from now on for failures after this moment."""
        self._content = self._disk.read(self._fd, NOTE_BYTES, 0)
        self._epoch = unpack_note(self._content).epoch

    def read(self) -> FailureNote:
        """Return what the note says."""
        return read_note(self._disk, self._fd)

    def note_failure(self, first_seq: int, durable_end: int) -> None:
        """Note that a sync of the file has failed, and where its durable bytes end; not yet durable."""
        self.unwritten = FailureNote(epoch=self._epoch + 1, first_seq=first_seq, durable_end=durable_end)
        self._write(self.unwritten)
        self.unwritten = None

    def clear(self, note: FailureNote) -> None:
        """Note that the failed file was replaced, durably: a note that came back would replace its replacement."""
        self._write(FailureNote(epoch=note.epoch))
        try:
            self._disk.sync_data(self._fd)
        except OSError:
            self._write(note)
            raise
        self.refresh()  # one that could not be noted before is noted by this alone

    def close(self) -> None:
        """Give the descriptor back."""
        if not self.is_closed:
            self.is_closed = True
            self._disk.close(self._fd)

    def _write(self, note: FailureNote) -> None:
        self._disk.write(self._fd, pack_note(note), 0)
