"""The note that a sync of the queue has failed, shared by all processes of this boot.

It lies in the content of `queue.lock`, written once when the trail is created and only overwritten in place
afterwards, so that noting a failure allocates nothing even on a full disk.  It needs no durability: after a crash
of the system the page cache is gone, and what storage really holds is what recovery finds.
"""

import struct
import zlib

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


def write_note(disk: Disk, fd: int, note: FailureNote) -> None:
    """Overwrite the note in an open `queue.lock`, not yet durable."""
    disk.write(fd, pack_note(note), 0)


def clear_note(disk: Disk, fd: int, note: FailureNote) -> None:
    """Say that the failed file was replaced, durably: a note that came back would replace its replacement."""
    write_note(disk, fd, FailureNote(epoch=note.epoch))
    try:
        disk.sync_data(fd)
    except OSError:
        write_note(disk, fd, note)
        raise
