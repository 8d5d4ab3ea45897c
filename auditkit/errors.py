"""Every error that auditkit raises on purpose and a caller can catch: `ak.errors`.

Messages are lower case, have no full stop and follow `subject: fact (expected x, found y)`; advice travels as a
note, positions as attributes.  Nothing here may import another auditkit module.
"""

import copy
import copyreg
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_PACKAGE = str(Path(__file__).parent) + os.sep


class AuditError(Exception):
    """Base of all errors raised by auditkit.

    Examples
    --------
    >>> issubclass(InvalidEventError, AuditError)
    True
    """

    def __reduce__(self) -> str | tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the caller's frames and the error; with AUDITKIT_DEBUG in the environment, all."""
        shown, frames = self, self.__traceback__
        if not os.environ.get("AUDITKIT_DEBUG"):
            shown, frames = copy.copy(self), _outside(frames)  # a copy without what it was raised from
        show = sys.modules["IPython"].get_ipython().InteractiveTB.structured_traceback
        return list(show(type(self), shown, frames))


class InvalidEventError(AuditError, ValueError):
    """An input cannot become an event; nothing was written.

    Parameters
    ----------
    field : str
        Name of the field that is wrong, also an attribute.
    value : object
        What was found in it, also an attribute.
    reason : str
        What is wrong with the value, also an attribute.
    position : int, optional
        Row of a batch, from 0, also an attribute; None for a single event.

    Attributes
    ----------
    refused : sequence of (int, InvalidEventError)
        All rows of a batch that are wrong in this way, where that was found of all of them at once.

    Examples
    --------
    >>> print(InvalidEventError("action", "", "is empty", position=3))
    row 3: action: is empty (found '')
    """

    def __init__(self, field: str, value: object, reason: str, *, position: int | None = None) -> None:
        self.field = field
        self.value = value
        self.reason = reason
        self.position = position
        self.refused: Sequence[tuple[int, InvalidEventError]] = ()
        where = "" if position is None else f"row {position}: "
        super().__init__(f"{where}{field}: {reason} (found {shorten(value)})")


class LateEventError(InvalidEventError):
    """An event is expired on arrival: the policy keeps nothing as old, and no hold does; nothing was written.

    Examples
    --------
    >>> issubclass(LateEventError, InvalidEventError)
    True
    """


def placed(error: InvalidEventError, position: int | None) -> InvalidEventError:
    """Return the same error, with its notes, of that row of a batch.

    >>> str(placed(InvalidEventError("action", "", "is empty"), 3))
    "row 3: action: is empty (found '')"
    """
    same = type(error)(error.field, error.value, error.reason, position=position)
    for note in getattr(error, "__notes__", ()):
        same.add_note(note)
    return same


class InvalidArgumentError(AuditError, ValueError):
    """An argument that does not say what to do; nothing was done.

    Parameters
    ----------
    name : str
        Argument, column or condition that is wrong, also an attribute.
    value : object
        What was given for it, also an attribute.
    reason : str
        What is wrong with the value, also an attribute.
    expected : str, optional
        What would have been right.

    Examples
    --------
    >>> print(InvalidArgumentError("n", -1, "not a number of events", expected="0 or more"))
    n: not a number of events (expected 0 or more, found -1)
    """

    def __init__(self, name: str, value: object, reason: str, *, expected: str | None = None) -> None:
        self.name = name
        self.value = value
        self.reason = reason
        wanted = "" if expected is None else f"expected {expected}, "
        super().__init__(f"{name}: {reason} ({wanted}found {shorten(value)})")


class InvalidQueryError(InvalidArgumentError):
    """A question that cannot be asked of these events.

    Examples
    --------
    >>> print(InvalidQueryError("by", "actr", "is not a column of these events; did you mean 'actor'?"))
    by: is not a column of these events; did you mean 'actor'? (found 'actr')
    """


class InvalidTimeError(InvalidArgumentError):
    """A time, duration or zone that cannot be read without guessing.

    Examples
    --------
    >>> print(InvalidTimeError("start", "soon", "is neither an ISO time nor a duration"))
    start: is neither an ISO time nor a duration (found 'soon')
    """


class EmptyAnswerWarning(UserWarning):
    """A question that no event answers seems not to say what was meant: what is near it.

    Examples
    --------
    >>> issubclass(EmptyAnswerWarning, UserWarning)
    True
    """


class QueueFullError(AuditError):
    """The queue is at its bound, and the trail was opened with `on_full="raise"`; nothing was accepted."""


class ClosedError(AuditError):
    """The trail is closed, read-only, or belongs to the parent of this forked process."""


class LockedError(AuditError):
    """Another thread or process has held a lock for longer than the caller wanted to wait."""


class TrailNotFoundError(AuditError, FileNotFoundError):
    """There is no trail at this path."""


class TrailExistsError(AuditError, FileExistsError):
    """The place for a new trail is taken."""


class HoldError(AuditError):
    """A hold of this name is there already, or is not in force; nothing was changed."""


class PrunedError(AuditError):
    """The answer needs events that the retention policy has removed.

    Parameters
    ----------
    message : str
        What was asked and what is gone.
    tombstone : str
        Name of the record of the removal, also an attribute.
    """

    def __init__(self, message: str, *, tombstone: str) -> None:
        self.tombstone = tombstone
        super().__init__(message)


class StorageError(AuditError, OSError):
    """Storage refused a write, a sync or a rename: the disk is full, or a device failed.

    `errno`, `strerror` and `filename` are those of the operating system's error, and `path` is the file.

    Examples
    --------
    >>> print(StorageError(28, "No space left on device", "/srv/audit/queue/00000000000000000000.wal"))
    /srv/audit/queue/00000000000000000000.wal: no space left on device
    """

    __reduce__ = OSError.__reduce__  # which keeps the path beside the arguments

    def __str__(self) -> str:
        reason = self.strerror or "input/output error"
        return f"{self.filename}: {reason[:1].lower()}{reason[1:]}"

    @property
    def path(self) -> Path:
        """The file that could not be written."""
        return Path(self.filename)


class CorruptionError(AuditError):
    """Stored bytes are not what was written.

    Parameters
    ----------
    path : Path
        The damaged file, also an attribute.
    offset : int or None
        Position of the damage in bytes, also an attribute; None where it is not known.
    reason : str
        What was expected and found, also an attribute.

    Examples
    --------
    >>> print(CorruptionError(Path("a.wal"), offset=64, reason="checksum mismatch"))
    a.wal at byte 64: checksum mismatch
    """

    def __init__(self, path: Path, *, offset: int | None, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{path}{at}: {reason}")


class FormatError(AuditError):
    """A file was written in a format that this version does not know."""


class ReportError(AuditError):
    """A report could not be made.

    Parameters
    ----------
    message : str
        What failed, and where.
    output : Path, optional
        The FAILED report or the executed notebook, also an attribute; None where none was saved.
    """

    def __init__(self, message: str, *, output: Path | None = None) -> None:
        self.output = output
        super().__init__(message)


def _outside(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback up to the line that called auditkit; all of it where auditkit was not called."""
    outer: list[TracebackType] = []
    frame = frames
    while frame is not None and not frame.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        outer.append(frame)
        frame = frame.tb_next
    cut: TracebackType | None = None
    for kept in reversed(outer):
        cut = TracebackType(cut, kept.tb_frame, kept.tb_lasti, kept.tb_lineno)
    return cut or frames


def shorten(value: object, *, limit: int = 80) -> str:
    """Return `repr(value)` in at most `limit` printable characters, safe to show on a terminal.

    >>> shorten("a" * 100, limit=10)
    "'aaaaaa..."
    """
    try:
        text = ascii(value)
    except RecursionError:
        text = f"<{type(value).__name__}, nested too deep to be shown>"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = f"<{type(value).__name__}, too long to be shown>"
    return text if len(text) <= limit else text[: limit - 3] + "..."
