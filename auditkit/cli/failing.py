"""How a command ends: exit codes, and errors on standard error without traceback.

What an error says may quote an event, so it is made visible before it reaches the terminal.
"""

import errno
import os
import sys

import click

from auditkit.errors import AuditError, InvalidEventError, ReportError
from auditkit.text import visible, visible_lines

FAILED = 1
MISUSED = 2
FAILED_REPORT = 3
INTERRUPTED = 130
BROKEN_PIPE = 141
EXIT_CODES = {
    0: "done",
    FAILED: "failed, and says why; also where you said no, where import kept nothing but dead letters (with --strict: any), and where doctor found what needs a person",
    MISUSED: "misused: a command, an option or a value that does not read",
    FAILED_REPORT: "a report was written, marked FAILED",
    INTERRUPTED: "interrupted; what was acknowledged is stored",
    BROKEN_PIPE: "the reader of the output has gone",
}
"""What each code means, for the help and the README; `record` ends with the code of what it ran."""
DEBUG_VARIABLE = "AUDITKIT_DEBUG"


def warn(message: str) -> None:
    """Write a warning, which does not stop the command, to standard error."""
    click.echo(click.style("Note: ", fg="yellow", bold=True) + visible_lines(message), err=True)


def complain(message: str, *hints: str) -> None:
    """Write an error and what to do about it to standard error."""
    click.echo(click.style("Error: ", fg="red", bold=True) + visible_lines(message), err=True)
    for hint in hints:
        click.echo(click.style("  hint: ", fg="cyan") + visible_lines(hint), err=True)


def explain(error: BaseException) -> int:
    """Write why a command ends and return its exit code; an error that auditkit does not raise on purpose is called a bug."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        complain("interrupted", *notes_of(error))
        return INTERRUPTED
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        _silence_output()
        return BROKEN_PIPE
    if isinstance(error, ReportError) and error.output is not None:
        complain(str(error), *(notes_of(error) or [f"the report marked FAILED is {error.output}"]))
        return FAILED_REPORT
    if isinstance(error, ValueError) and not isinstance(error, InvalidEventError):
        complain(str(error) or type(error).__name__, *notes_of(error))
        return MISUSED
    if isinstance(error, AuditError):
        complain(str(error), *notes_of(error))
        return FAILED
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"{error.filename}: "
        complain(place + (error.strerror or str(error)).lower(), *notes_of(error))
        return FAILED
    if isinstance(error, ModuleNotFoundError):
        complain(
            f"a library is not installed: {error.name}", "install what reports need: pip install '.[report]'"
        )
        return FAILED
    complain(
        f"unexpected {type(error).__name__}: {visible(str(error))[:2000]}",
        *notes_of(error),
        f"this is a bug in auditkit; {DEBUG_VARIABLE}=1 shows where",
    )
    return FAILED


def notes_of(error: BaseException) -> list[str]:
    """Return the advice that travels with an error."""
    return list(getattr(error, "__notes__", ()))


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return bool(os.environ.get(DEBUG_VARIABLE))


def _silence_output() -> None:
    """Let nothing more be written to a reader that is gone, also not when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
