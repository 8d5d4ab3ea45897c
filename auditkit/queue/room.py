"""Room behind a queue file's last frame: zeros, written and synced before the frames that will lie there.

A sync that changes neither the size of a file nor where its blocks lie writes these blocks and nothing else, which
takes two thirds of the time.  Zeros are no frame: whoever reads takes them for the end.  A large frame gets no room, for
its bytes would be written twice.
"""

from contextlib import suppress

from auditkit.disk.durable import Disk
from auditkit.queue.frames import FRAME_BYTES

SMALLEST_BYTES = 16 * 1024
LARGEST_BYTES = 256 * 1024
SMALL_FRAME_BYTES = 32 * 1024
NO_FRAME = bytes(FRAME_BYTES)
"""What lies where the next frame will begin."""


def room_behind(end: int, frame_bytes: int) -> int:
    """Return how many zeros to write where a file's last frame, of so many bytes, ends."""
    return min(max(end, SMALLEST_BYTES), LARGEST_BYTES) if frame_bytes <= SMALL_FRAME_BYTES else 0


class Room:
    """What a writer knows of the room in its file."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.end = 0
        """Up to where the file is known to hold nothing but room behind its frames."""
        self.is_ours = False
        """Whether this writer has made any."""

    def make(self, fd: int, end: int, frame_bytes: int) -> None:
        """See to it that there is room where a frame of so many bytes ends; whoever syncs the frame syncs it too.

        Where storage has no place for room, frames go on without.
        """
        room = room_behind(end, frame_bytes)
        if not room or self.end >= end + FRAME_BYTES:
            return
        try:
            self._disk.write(fd, bytes(room), end)
            self.end, self.is_ours = end + room, True
        except OSError:
            with suppress(OSError):
                self._disk.truncate(fd, end)


def is_blank(data: bytes) -> bool:
    """Say whether there is nothing but room."""
    return data == bytes(len(data))
