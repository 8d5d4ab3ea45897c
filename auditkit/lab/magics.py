"""`%load_ext auditkit`: the magic `%audit` in its two forms, and what comes with it in IPython."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic_arguments import MagicArgumentParser

from auditkit.api import Trail
from auditkit.errors import TrailNotFoundError
from auditkit.lab.cells import CellRecorder
from auditkit.lab.completion import MATCHER, make_matcher
from auditkit.opening import TRAIL_VARIABLE, open_trail

COMMANDS = ("on", "off", "status")


class Said(str):
    """Text that a notebook shows as it is."""

    __slots__ = ()
    __repr__ = str.__str__


class AuditMagic:
    """The magic of one shell, and what it records."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._recording: CellRecorder | None = None

    def audit(self, line: str, cell: str | None = None) -> Any:
        """Record the cells of this notebook, or ask a trail with SQL.

        %audit on [--trail TRAIL] [--source]
            Record every cell from the next one on: user, notebook, cell, SHA-256 of its source, duration, outcome and type of
            exception, and below it, by correlation, the files, programs and connections it used.  Never what it shows.
            --source keeps the source too.
        %audit off
            Record no more.  The trail says so.
        %audit status
            Say what is recorded, and where.

        %%audit [--trail TRAIL] [--out NAME]
        SELECT actor, count(*) AS n FROM events WHERE action = $what GROUP BY actor
            Answer a query over the table `events`, as `trail.sql` does; $what is the notebook's variable `what`.
            --out keeps the frame under a name instead of showing it.

        TRAIL is a variable that holds a trail, or the path of one; left out, the variable `trail`, or else what the
        environment variable AUDITKIT_TRAIL names.
        """
        if cell is not None:
            return self._ask(line, cell)
        given = _parsed(line, "%audit", COMMANDS)
        if given.command == "on":
            with found_trail(self._shell, given.trail) as trail:
                self._on(trail.path, source=given.source)
        recording = self._recording
        if given.command == "off":
            self.off()
        return Said(recording or "not recording cells; %audit on does")

    def off(self) -> None:
        """Record no more."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.stop()

    def _on(self, trail: Path, *, source: bool) -> None:
        now = self._recording
        if now is None or (now.trail, now.source) != (trail, source):
            recorder = CellRecorder(self._shell, trail, source=source)
            recorder.start()
            self.off()
            self._recording = recorder

    def _ask(self, line: str, query: str) -> pl.DataFrame | None:
        given = _parsed(line, "%%audit")
        if given.out is not None and not given.out.isidentifier():
            raise UsageError(f"%%audit: --out: not a name (found {given.out!r})")
        space = self._shell.user_ns
        with found_trail(self._shell, given.trail) as trail:
            answer = _answer(trail, query, space)
        if given.out is None:
            return answer
        space[given.out] = answer
        return None


def _parsed(line: str, prog: str, commands: Sequence[str] = ()) -> Any:
    """Return what a line says; raises `UsageError` where it says something else."""
    parser: Any = MagicArgumentParser(prog=prog)  # type: ignore[no-untyped-call]
    parser.add_argument("--trail")
    if commands:
        parser.add_argument("command", choices=commands)
        parser.add_argument("--source", action="store_true")
    else:
        parser.add_argument("--out")
    return parser.parse_argstring(line)


@contextmanager
def found_trail(shell: InteractiveShell, named: str | None) -> Iterator[Trail]:
    """Give the trail that a name or path means, by default the notebook's `trail`, or what the environment names."""
    held = shell.user_ns.get(named or "trail")
    if isinstance(held, Trail):
        yield held
        return
    try:
        opened = open_trail(named)
    except TrailNotFoundError as exc:
        exc.add_note(f"name one: --trail with a path or a variable, a variable `trail`, or {TRAIL_VARIABLE}")
        raise
    with opened:
        yield opened


def _answer(trail: Trail, query: str, space: Mapping[str, Any]) -> pl.DataFrame:
    """Ask a trail, with the notebook's variables for the parameters of the query."""
    from auditkit.ask.sql import parameters  # needs DuckDB

    return trail.sql(query, params={name: space[name] for name in parameters(query) if name in space} or None)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Bring `%audit`, `%%audit` and completion (called by `%load_ext auditkit`)."""
    magic = AuditMagic(shell)
    shell.magics_manager.register_function(magic.audit, "line_cell", "audit")
    shell.Completer.custom_matchers.append(make_matcher(shell))


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take away what `load_ipython_extension` brought, and record no more."""
    for kind in ("line", "cell"):
        magic = shell.magics_manager.magics[kind].pop("audit", None)
        if magic is not None:
            magic.__self__.off()
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", None) != MATCHER]
