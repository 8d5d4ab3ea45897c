"""Watching a trail: the newest events, how many come, and how many of them are failures, in one place that is drawn anew.

In a notebook that is one output below the cell, in a terminal a part of the screen.  It ends with an interrupt, Lab's stop
button or Ctrl-C, and its last state stays.  However many events come, it holds the newest few and a minute's counts.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from time import monotonic
from typing import Any

from msgspec import Struct
from rich.console import Group
from rich.live import Live
from rich.text import Text

from auditkit.display.cards import LITERAL, Card, make_card
from auditkit.display.tables import moment
from auditkit.display.terminal import console
from auditkit.errors import InvalidArgumentError, InvalidQueryError
from auditkit.follow.delivery import DeliveryPolicy
from auditkit.follow.follower import follow
from auditkit.text import ago, counted, short_label
from auditkit.timerange import check_zone
from auditkit.trail.view import View
from auditkit.where import Where, compile_where, describe_where
from auditkit.where.vocabulary import failing

TICK_S = 0.2
"""How often it is drawn; an event shows within this and `POLL_S`."""
POLL_S = 0.05
MINUTE_S = 60
COLUMNS = ("ts", "outcome", "actor", "action", "resource")
_RATE_S = 10
_FAILED = "✗ "
"""Stands before the outcome of a failure: colour alone does not say it to all."""
_FAILURE = "color: var(--jp-error-color0, #a61b1b); font-weight: 600"
_REGION = 'role="region" aria-label="Newest events" tabindex="0" style="overflow-x: auto; margin-top: 0.6em"'
_CELL = 'style="text-align: left; white-space: nowrap; max-width: 24em; overflow: hidden; text-overflow: ellipsis"'


class _Second(Struct):
    """How many events came within one second, and how many of them were failures."""

    at: int
    events: int = 0
    failures: int = 0


class Seen:
    """What is known of the events that came."""

    def __init__(self, view: View, n: int, asked: str, failures: Sequence[str] | None, zone: str) -> None:
        self._name = view.handle.layout.root.name
        self._asked = asked
        self._patterns = failures
        self._zone = check_zone(zone)
        self._headings = [f"ts ({zone})", *COLUMNS[1:]]
        self._begun = monotonic()
        self._seconds: deque[_Second] = deque(maxlen=MINUTE_S)
        self._newest: deque[tuple[bool, tuple[Any, ...]]] = deque(maxlen=n)
        self._seqs: tuple[int, int] | None = None
        self._last_failure: tuple[Any, ...] = ()
        self._events = self._failures = 0
        self.has_ended = False

    def take(self, event: dict[str, Any]) -> None:
        """Count an event, and keep it while it is one of the newest."""
        failed = bool(failing([event["outcome"]], self._patterns))
        values = tuple(event[name] for name in COLUMNS)
        self._newest.appendleft((failed, values))
        if failed:
            self._last_failure = values
        self._seqs = (event["seq"] if self._seqs is None else self._seqs[0], event["seq"])
        self._events += 1
        self._failures += failed
        second = self._second()
        if not self._seconds or self._seconds[-1].at != second:
            self._seconds.append(_Second(second))
        self._seconds[-1].events += 1
        self._seconds[-1].failures += failed

    def _cells(self, values: tuple[Any, ...], mark: str) -> list[str]:
        ts, outcome, *others = values
        shown = moment(ts.astimezone(self._zone), digits=3)
        return [shown, f"{mark}{short_label(outcome)}", *map(short_label, others)]

    def _second(self) -> int:
        return int(monotonic() - self._begun)

    def card(self) -> Card:
        """Return the figures."""
        now, took = self._second(), monotonic() - self._begun
        minute = {one.at: one for one in self._seconds}
        known = [minute.get(at, _Second(at)) for at in range(now - MINUTE_S + 1, now + 1)]
        recent = known[-max(1, min(_RATE_S, now)) :]
        share = f" ({self._failures / self._events:.1%})" if self._failures else ""
        state = "ended after" if self.has_ended else "for"
        events = [("asked for", self._asked), ("arrived", counted(self._events, "event"))]
        if self._seqs is not None:
            events.append(("seqs", f"{self._seqs[0]:,} to {self._seqs[1]:,}"))
        if not self.has_ended:
            rate = sum(one.events for one in recent) / len(recent)
            events.append(("rate", f"{rate:,.1f} per second"))
        failures = [("failed", f"{self._failures:,}{share}")]
        if self._last_failure:
            _, outcome, actor, action, _ = map(short_label, self._last_failure)
            failures.append(("last", f"{action} by {actor}: {outcome}"))
        counts = [one.events for one in known]
        return make_card(
            f"Watching {self._name} {state} {ago(took)}",
            [("events", events), ("failures", failures)],
            spark=counts if any(counts) else (),
            spark_note=f"events per second in the last minute, at most {max(counts):,}",
        )

    def rows(self) -> list[tuple[bool, list[str]]]:
        """Return the newest events, the newest first: whether each is a failure, and its cells."""
        return [(failed, self._cells(values, _FAILED if failed else "")) for failed, values in self._newest]

    def lines(self) -> list[str]:
        """Return the newest events as lines under their headings; none where no event came."""
        rows = [self._headings, *(cells for _, cells in self.rows())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            for cells in rows
        ]
        return lines if self._newest else []

    def page(self) -> dict[str, str]:
        """Return what a notebook shows."""
        card = self.card()
        plain = "\n".join([card.title, str(card), *self.lines()])
        return {"text/plain": plain, "text/html": f"{card.bundle()['text/html']}{self._table()}"}

    def _table(self) -> str:
        """Return the newest events as HTML."""
        if not self._newest:
            waiting = "No event came." if self.has_ended else "Waiting for events…"
            return f'<p style="color: var(--jp-ui-font-color2, #5b6573)">{waiting}</p>'
        head = "".join(f'<th scope="col" {_CELL}>{escape(name)}</th>' for name in self._headings)
        body = "".join(_row(cells, _FAILURE if failed else "") for failed, cells in self.rows())
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<div {LITERAL} {_REGION}>{table}</div>"


def _row(cells: Sequence[str], style: str) -> str:
    return f'<tr style="{style}">{"".join(f"<td {_CELL}>{escape(cell)}</td>" for cell in cells)}</tr>'


def watch(
    view: View,
    *,
    where: Where,
    own: bool,
    n: int,
    failures: Sequence[str] | None,
    tz: str | None,
    duration_s: float | None,
) -> None:
    """See `Trail.watch`."""
    if view.at is not None:
        raise InvalidQueryError("at", view.at, "is a view of the past, to which nothing comes")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidArgumentError("n", n, "not a number of events")
    if duration_s is not None and not duration_s >= 0:
        raise InvalidArgumentError("duration_s", duration_s, "not a number of seconds")
    zone = tz or view.tz
    failing([], failures)  # refuses what are no patterns
    compile_where(where, view.handle.schema.columns)  # and what is no condition, before anything is shown
    seen = Seen(view, n, describe_where(where), failures, zone)
    policy = DeliveryPolicy(max_deliver=None, retry_s=1.0, timeout_s=TICK_S, poll_s=POLL_S)
    end = None if duration_s is None else monotonic() + duration_s
    position = view.snapshot().as_of
    with _screen()(seen) as draw:
        try:
            draw()
            while end is None or monotonic() < end:
                due = monotonic() + TICK_S
                with follow(
                    view, None, start=position, where=where, own=own, tz=None, policy=policy
                ) as coming:
                    for delivery in coming:
                        seen.take(delivery.event)
                        if monotonic() >= due:
                            break
                    position = coming.position
                draw()
        except KeyboardInterrupt:
            pass  # the way to end it
        finally:
            seen.has_ended = True
            draw()


_Draw = Callable[[], None]


def _screen() -> Callable[[Seen], Any]:
    """Return where it is shown."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return _terminal if getattr(shell, "kernel", None) is None else _notebook


@contextmanager
def _notebook(seen: Seen) -> Iterator[_Draw]:
    """Show it below the cell, as one output that is drawn anew where it has changed."""
    display = sys.modules["IPython"].display.display  # which runs the cell
    shown: Any = None
    last: dict[str, str] = {}

    def draw() -> None:
        nonlocal shown, last
        page = seen.page()
        if page == last:
            return
        last = page
        if shown is None:
            shown = display(page, raw=True, display_id=True)
        else:
            shown.update(page, raw=True)

    yield draw


@contextmanager
def _terminal(seen: Seen) -> Iterator[_Draw]:
    """Show it in a part of the screen; where there is no screen, its last state is written."""

    def page() -> Group:
        card, lines = seen.card(), []
        for line, (failed, _) in zip(seen.lines(), [(False, []), *seen.rows()], strict=False):
            style = "bold red" if failed else ""
            lines.append(Text(line, style=style, no_wrap=True, overflow="ellipsis"))
        return Group(Text(card.title, style="bold"), card, *lines)

    with Live(get_renderable=page, console=console(), auto_refresh=False) as live:
        yield live.refresh
