"""A progress bar on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_bar(what: str, *, total: int | None, counts_bytes: bool) -> Iterator[Callable[[int, str], None]]:
    """Draw how much of `total` is done (a spinner where that is unknown); gone when it ends.

    What it yields takes the amount done and a text to show beside it.  Where standard error is no terminal,
    nothing is drawn.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _beside: None
        return
    amount = DownloadColumn() if counts_bytes else MofNCompleteColumn()
    known = (BarColumn(), amount, TimeRemainingColumn()) if total is not None else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *known, TextColumn("{task.fields[beside]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, beside="")
        yield lambda done, beside: progress.update(task, completed=done, beside=beside)
