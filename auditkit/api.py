"""The facade: `Trail` with its few verbs.  Each method hands over to its theme."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from auditkit.errors import ClosedError
from auditkit.follow.follower import Follower
from auditkit.keep.plan import PrunePlan
from auditkit.keep.summaries import MaintainSummary, PruneSummary
from auditkit.query import UNFILLED, Aggregations, Fill
from auditkit.queue.receipts import Receipt
from auditkit.retention.policy import Policy
from auditkit.timerange import Moment
from auditkit.trail.handle import Core
from auditkit.trail.source import retrying
from auditkit.trail.summaries import FlushSummary, Stats
from auditkit.trail.view import View
from auditkit.where import Where
from auditkit.write.extend import OnInvalid, Rows


class Trail:
    """One audit trail: append to it, ask it, keep it.  Get one from `ak.create` or `ak.open`.

    Times are half-open ranges `[start, end)` of `ts`; each bound is an aware `datetime`, ISO text, a `date`, or a
    duration (`"-7d"` before now, `end="+1d"` after start); left out, it is unbounded.  Text without a zone and
    dates are read in `tz`, by default the view zone of the trail.  `where` is a mapping of column (or
    `attrs.path`) to a value, a list, a glob or `None`, all of it true, or a Polars expression.  The trail's own
    events (`source="auditkit"`) are left out of queries unless `own=True`.

    Objects may be shared between threads.
    """

    def __init__(self, core: Core, view: View) -> None:
        self._core = core
        self._view = view

    # What it is

    @property
    def path(self) -> Path:
        """The trail's directory, absolute."""
        return self._core.layout.root

    @property
    def name(self) -> str:
        """The name of the trail's directory."""
        return self.path.name

    @property
    def trail_id(self) -> str:
        """The trail's identity: 32 hexadecimal digits, drawn when it was created."""
        return self._core.info.trail_id

    @property
    def tz(self) -> str:
        """The zone in which times without one are read and days begin."""
        return self._view.tz

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns of an event as queries return them, declared fields last."""
        return dict(self._core.schema.columns)

    @property
    def fields(self) -> dict[str, pl.DataType]:
        """The declared extra fields."""
        return dict(self._core.schema.fields)

    @property
    def end_seq(self) -> int:
        """The exclusive end of the seqs this view shows."""
        return self._view.snapshot().as_of

    def now(self) -> datetime:
        """Return the moment that durations like `"-1h"` count from, in UTC.

        The clock's now; in a view `at(seq)`, the moment the last event of the view was accepted.
        """
        return self._view.now()

    @property
    def view(self) -> View:
        """The view this object asks through (for themes and reports)."""
        return self._view

    @property
    def core(self) -> Core:
        """The shared parts of this open trail (for importers)."""
        return self._core

    # Append

    def append(
        self,
        *,
        action: str | None = None,
        ts: datetime | str | None = None,
        actor: str | None = None,
        resource: str | None = None,
        outcome: str | None = None,
        source: str | None = None,
        origin: str | None = None,
        correlation: str | None = None,
        id: str | None = None,  # noqa: A002 -- the field's name in CloudEvents and here
        value: float | None = None,
        attrs: Mapping[str, Any] | str | None = None,
        tz: str | None = None,
        **declared: Any,
    ) -> Receipt:
        """Accept one event and return its receipt; `receipt.wait()` makes sure that it is durable.

        `action` is required, here or through `ak.bind`; a missing `ts` means now; `attrs` is a mapping or a JSON
        object as text, kept verbatim; declared fields go by their names.  Raises `InvalidEventError` naming field,
        value and reason, before anything is written; `ClosedError` after `close` or a failed commit.
        """
        from auditkit.write.append import append as _append

        given = {
            "action": action, "ts": ts, "actor": actor, "resource": resource, "outcome": outcome, "source": source,
            "origin": origin, "correlation": correlation, "id": id, "value": value, "attrs": attrs, **declared,
        }  # fmt: skip
        return _append(self._writable(), given, tz)

    def extend(
        self,
        rows: Rows,
        *,
        tz: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Receipt:
        """Accept many events as one batch: mappings, a Polars frame, an Arrow table or reader.

        Keys that are no field of an event go into its attrs.  The first bad row raises `InvalidEventError` naming
        its position, and nothing is taken; with `on_invalid="dead-letter"` bad rows are kept aside with their
        reasons and the others are taken.  Lazy frames and readers are taken a million rows at a time.  Naive
        timestamps are read in `tz` and refused without it.
        """
        from auditkit.write.extend import extend as _extend

        return _extend(self._writable(), rows, tz=tz, on_invalid=on_invalid)

    def follow(
        self,
        consumer: str | None = None,
        *,
        start: int | Moment | None = None,
        where: Where = None,
        own: bool = False,
        max_deliver: int | None = 5,
        retry_s: float = 1.0,
        timeout_s: float | None = None,
        poll_s: float = 0.1,
        tz: str | None = None,
    ) -> Follower:
        """Deliver committed events one by one in the order of their seqs, and wait for those to come.

        Without `consumer` it is a plain tail: nothing is remembered, written or delivered twice.

        With `consumer` the trail remembers, durably, what was acknowledged under that name: each name gets every event,
        at least once.  `delivery.ack()` moves the consumer's position behind the event.  Going on without it, or after
        `delivery.fail(reason)`, delivers the same event again; so does following anew, after a crash too.  Asking for the
        next event acknowledges nothing, so that an error that was caught and forgotten loses nothing.  An event that was
        delivered `max_deliver` times becomes a dead letter: the consumer's name, the event's seq and the reason.

        Events that expired or were pruned before they could be delivered are skipped and counted, in `missed` of the
        delivery that follows and of the follower.  Retention does not wait for consumers.

        Parameters
        ----------
        consumer : str, optional
            The name under which acknowledgements are remembered: 1 to 64 of a-z, 0-9, `_` and `-`.
        start : int, str, datetime, date or None, default None
            Where a tail, or a consumer without a position, begins.  `None`: with the first event that is kept; an int:
            at that seq (`trail.end_seq`: only what is to come); a time, as in `range`: with the first event *accepted*
            then or later.
        where : mapping or pl.Expr, optional
            Conditions on the events delivered, as in `range`.
        own : bool, default False
            Whether the trail's own events (`source="auditkit"`) are delivered too.
        max_deliver : int or None, default 5
            How often an event is delivered to a consumer before it becomes a dead letter; `None`: no limit.
        retry_s : float, default 1.0
            Seconds before an event is delivered again; twice as long each further time, up to 60 s.
        timeout_s : float or None, default None
            Seconds without an event after which the iteration ends and the follower closes itself; 0 takes what is there,
            `None` waits for ever.
        poll_s : float, default 0.1
            Seconds within which events of other processes are seen, at least 0.001.
        tz : str, optional
            Zone of a `start` without one, by default the trail's view zone.

        Returns
        -------
        Follower
            An iterator of `Delivery`; `delivery.event` is a dict of the event's columns.

        Raises
        ------
        LockedError
            Another object or process follows under this name.
        ValueError
            A bad name, `start`, `where`, or number.
        ClosedError
            The trail is closed, or a consumer was asked for in a view of the past.
        CorruptionError
            The consumer's file is damaged, or its position lies beyond the trail's end.

        Examples
        --------
        `with delivery as event:` acknowledges at the end of the block, and notes an exception as a failure:

        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend([{"action": "order.paid"}, {"action": "order.sent"}]).wait()
        0
        >>> for delivery in trail.follow("mailer", timeout_s=0):
        ...     with delivery as event:
        ...         event["action"]
        'order.paid'
        'order.sent'
        """
        from auditkit.follow.delivery import DeliveryPolicy
        from auditkit.follow.follower import follow as _follow

        policy = DeliveryPolicy(max_deliver=max_deliver, retry_s=retry_s, timeout_s=timeout_s, poll_s=poll_s)
        if consumer is not None:
            self._writable()
        return _follow(self._view, consumer, start=start, where=where, own=own, tz=tz, policy=policy)

    def flush(self) -> FlushSummary:
        """Move everything committed into segments; on return it is there, durable and named by the catalog.

        Then retention is enforced where that is due, unless the trail was opened with `maintain=False`.
        """
        from auditkit.keep.maintain import flush_and_enforce

        return flush_and_enforce(self._writable())

    def maintain(self, *, now: datetime | None = None, compact: bool = False) -> MaintainSummary:
        """Do what is due: flush, prune, and merge the small segments of partitions that have eight of them or more.

        With `now`, record that moment, so that an idle trail ages.  With `compact`, merge small segments wherever a
        partition has two.
        """
        from auditkit.keep.maintain import maintain as _maintain

        return _maintain(self._writable(), now=now, thoroughly=compact)

    def stats(self) -> Stats:
        """Return the state of queue, segments and retention in numbers."""
        from auditkit.ask.stats import stats as _stats

        return _stats(self._core, self._view.snapshot())

    def close(self) -> None:
        """Commit what is accepted and give everything back.  Raises a failure that nobody has seen yet."""
        if self._view.at is None and not self._core.closed:
            self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Ask

    def scan(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        where: Where = None,
        own: bool = False,
        tz: str | None = None,
    ) -> pl.LazyFrame:
        """Return the events of a window as a `LazyFrame` over the segment files, in no particular order.

        It is planned when it is collected and shows the events that were committed when it was made.  Filters added
        later on `ts`, and for single values of actor, resource, correlation and id, choose what is read.  Text is
        `String`.  Collecting raises `PrunedError` where events that it would show were pruned since.
        """
        from auditkit.ask.range import scan as _scan

        return _scan(self._view, start, end, where=where, own=own, tz=tz)

    def range(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        where: Where = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        descending: bool = False,
        own: bool = False,
        tz: str | None = None,
    ) -> pl.DataFrame:
        """Return the events of a window, ordered by (ts, seq).

        What would take more than half of the memory that is there is refused with `InvalidQueryError`: `limit` and
        fewer `columns` make it small, `scan` goes through it in pieces.
        """
        from auditkit.ask.range import range_

        return range_(
            self._view, start, end, where=where, columns=columns, limit=limit, descending=descending, own=own, tz=tz
        )  # fmt: skip

    def group_by(
        self,
        by: str | Sequence[str],
        *,
        every: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        where: Where = None,
        aggs: Aggregations = None,
        own: bool = False,
        tz: str | None = None,
    ) -> pl.DataFrame:
        """Count and measure events per key, and per bucket of `every` where given: a finished frame.

        Columns: ts (start of the bucket, in `tz`; only with `every`), the keys, count, value_count, sum, mean,
        min, max of `value`; or the `aggs` asked for.  Sorted by ts, then keys, nulls last.
        """
        from auditkit.ask.group import group_by as _group_by

        return _group_by(
            self._view, by, every=every, start=start, end=end, where=where, aggs=aggs, own=own, tz=tz
        )

    def downsample(
        self,
        every: str,
        *,
        by: str | Sequence[str] | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        where: Where = None,
        aggs: Aggregations = None,
        fill: Fill = UNFILLED,
        own: bool = False,
        tz: str | None = None,
    ) -> pl.DataFrame:
        """Return a series of buckets of `every`, right in every time zone, one per key of `by`.

        `fill` decides about buckets without events: left out, there are none; `None` gives nulls, a number gives
        itself, `"forward"` the last value.  Columns as in `group_by`.
        """
        from auditkit.ask.group import downsample as _downsample

        return _downsample(
            self._view, every, by=by, start=start, end=end, where=where, aggs=aggs, fill=fill, own=own, tz=tz
        )

    def sql(self, query: str, *, own: bool = False) -> pl.DataFrame:
        """Answer a `SELECT` over the table `events` in the dialect of Polars; nothing can be changed by it.

        Conditions on `ts` choose what is read: `ts >= DATE '2026-11-24'`, `ts < '2026-11-24T07:00:00Z'`.  A `TIMESTAMP`
        literal has no zone and is refused, as are `json_extract` and `->>`: values inside attrs are for `where` and
        `ak.attr`.  Raises `InvalidQueryError`, a `ValueError`, that says so.
        """
        from auditkit.ask.range import sql as _sql

        return _sql(self._view, query, own=own)

    def tail(self, n: int = 10) -> pl.DataFrame:
        """Return the last `n` events by seq, ascending, the trail's own included."""
        from auditkit.ask.range import tail as _tail

        return _tail(self._view, n)

    def at(self, seq: int, *, allow_pruned: bool = False) -> "Trail":
        """Return the trail as it was when `seq` events were committed, read-only: every query over seqs before it.

        Equal calls give equal answers.  A query that would need events pruned since raises `PrunedError`, unless
        `allow_pruned`.  A seq beyond the committed end is a `ValueError`.
        """
        limit = self._view.at
        if limit is not None and seq > limit:
            raise ValueError(f"seq: beyond the end of this view (expected 0 to {limit}, found {seq})")
        view = View(core=self._core, at=seq, allow_pruned=allow_pruned, tz=self._view.tz)
        view.snapshot()
        return Trail(self._core, view)

    # Keep

    @property
    def retention(self) -> Policy:
        """The policy in force."""
        return self._view.snapshot().policy

    def set_retention(self, retention: str | Policy | None) -> Policy:
        """Keep events for `retention` (`"90d"`, `"7y"`, `None` for ever) from now on; recorded as an event."""
        from auditkit.keep.maintain import set_policy

        return set_policy(self._writable(), retention)

    def plan_prune(self, *, now: datetime | None = None) -> PrunePlan:
        """Say what `prune` would remove and why; changes nothing.  `print` shows it."""
        from auditkit.keep.prune import plan_prune as _plan_prune

        return retrying(lambda: _plan_prune(self._core, self._view.snapshot(), now=now))

    def prune(self, plan: PrunePlan | None = None, *, now: datetime | None = None) -> PruneSummary:
        """Remove every expired event, to the microsecond; a tombstone for each segment says what went.

        Segments that hold nothing else go whole, those that the cutoff runs through are written anew.  With `plan`,
        only what it names and is still expired.  With `now`, that moment is recorded first; one ahead of the
        machine's clock is a `ValueError`.
        """
        from auditkit.keep.prune import prune as _prune

        return _prune(self._writable(), plan, now=now)

    def _writable(self) -> Core:
        if self._view.at is not None:
            raise ClosedError(f"{self.path}: a view of seq {self._view.at} is read-only")
        return self._core

    def __repr__(self) -> str:
        at = "" if self._view.at is None else f" at seq {self._view.at}"
        return f"<Trail {self.name!r}{at}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return the card that a notebook keeps and shows."""
        from auditkit.ask.card import trail_card

        return trail_card(self._view).bundle()
