"""`class Trail`: the public methods, each of which imports the room that does its work when it is called."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import polars as pl

from auditkit.errors import ClosedError, InvalidQueryError
from auditkit.follow.follower import Follower
from auditkit.keep.plan import PrunePlan
from auditkit.keep.state import Retention
from auditkit.keep.summaries import MaintainSummary, PlacedHold, PruneSummary, RollupSummary
from auditkit.query import UNFILLED, Aggregations, Fill
from auditkit.query.frames import zoned_type
from auditkit.queue.receipts import Receipt
from auditkit.retention.policy import Policy, RetentionRules
from auditkit.store.files import retrying
from auditkit.timerange import Moment, check_zone, in_zone
from auditkit.trail.handle import Handle
from auditkit.trail.summaries import FlushSummary, Stats
from auditkit.trail.view import View
from auditkit.where import Where
from auditkit.write.extend import OnInvalid, Rows


class Trail:
    """One audit trail: append to it, ask it, keep it.  Get one from `ak.create` or `ak.open`.

    Times are half-open ranges `[start, end)` of `ts`; each bound is an aware `datetime`, ISO text, a `date`, or a duration
    (`"-7d"` before now, `end="+1d"` after start); left out, it is unbounded.  Text without a zone and dates are read in
    `tz`, by default the view zone of the trail.  The trail's own events (`source="auditkit"`) are left out of answers
    unless `own=True`.

    Objects may be shared between threads.  Used as a context manager, the trail closes at the end of the block.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> with trail:
    ...     trail.append(action="doc.read", actor="ann").wait()
    0
    """

    def __init__(self, handle: Handle, view: View) -> None:
        self._handle = handle
        self._view = view

    # What it is

    @property
    def path(self) -> Path:
        """Directory of the trail, absolute."""
        return self._handle.layout.root

    @property
    def name(self) -> str:
        """Name of the trail's directory."""
        return self.path.name

    @property
    def trail_id(self) -> str:
        """Identity of the trail: 32 hexadecimal digits, drawn when it was created."""
        return self._handle.info.trail_id

    @property
    def tz(self) -> str:
        """IANA name of the zone in which times without one are read and days begin."""
        return self._view.tz

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Columns of an event and their dtypes, in the order in which queries return them.

        Returns
        -------
        dict of str to pl.DataType
            `seq` (UInt64), `ts` and `recorded` (Datetime in microseconds and the zone `tz`), `actor`, `action`, `resource`, `outcome`,
            `source`, `origin`, `correlation`, `id` (String), `value` (Float64), `attrs` (String, a JSON object), then the declared
            fields.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> list(trail.schema)[:4]
        ['seq', 'ts', 'recorded', 'actor']
        """
        return {name: zoned_type(dtype, self.tz) for name, dtype in self._handle.schema.columns.items()}

    @property
    def fields(self) -> dict[str, pl.DataType]:
        """Declared fields and their dtypes, in the order of their declaration.

        Returns
        -------
        dict of str to pl.DataType
            Empty where none were declared.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> import polars as pl
        >>> ak.create(tempfile.mkdtemp(), fields={"amount": pl.Float64}).fields
        {'amount': Float64}
        """
        return dict(self._handle.schema.fields)

    @property
    def end_seq(self) -> int:
        """Exclusive end of the seqs that this object shows: how many events were ever committed.

        Returns
        -------
        int
            One more than the last committed seq; in a view `at(seq)`, that seq.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.append(action="doc.read").wait(), trail.end_seq
        (0, 1)
        """
        return self._view.snapshot().as_of

    def now(self) -> datetime:
        """Return the moment that durations like `"-1h"` count from.

        Returns
        -------
        datetime
            The clock's now in the trail's zone, to the microsecond; in a view `at(seq)`, when the last event of the view was accepted.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.now().tzname()
        'UTC'
        """
        return self._view.now().astimezone(check_zone(self.tz))

    @property
    def view(self) -> View:
        """View that this object asks through (for reports and importers)."""
        return self._view

    @property
    def handle(self) -> Handle:
        """Handle that this open trail and its views share (for importers)."""
        return self._handle

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
        """Accept one event and return its receipt.

        What `ak.bind` holds is added where an argument is left out.  On return the event is validated and accepted, not yet
        durable: `receipt.wait()` makes sure of that; without it the event is committed within a tenth of a second.  If it
        raises, nothing was accepted.

        Parameters
        ----------
        action : str
            What was done, such as `"doc.read"`; required, here or through `ak.bind`.  Like every text at most 64 KiB of UTF-8.
        ts : datetime, str or None, default None
            When it happened: an aware datetime or ISO text, kept in UTC to the microsecond (floored).  None: now.
        actor : str, optional
            Who did it.
        resource : str, optional
            On what.
        outcome : str, optional
            `"success"`, `"failure"`, or a word of the producer's own.
        source : str, optional
            Which service, host or program observed it; `"auditkit"` is taken.
        origin : str, optional
            Where the actor came from: an address, a device, a notebook.
        correlation : str, optional
            What ties events together: a request, a session, a run.
        id : str, optional
            The producer's own key.  An event with the (`source`, `id`) and body of an earlier one is not stored again.
        value : float, optional
            The number to measure, finite.
        attrs : mapping, str or None, default None
            Everything else: a mapping, or one JSON object as text, which is kept to the letter; at most 1 MiB of UTF-8.
        tz : str, optional
            IANA zone of a `ts` that names none; without it such a `ts` is refused.
        **declared : bool, int, float, str or datetime
            Declared fields by their names.

        Returns
        -------
        Receipt
            Its `wait()` returns the event's seq once it is durable.

        Raises
        ------
        InvalidEventError
            A field is missing, unknown or has a value that it cannot hold; names field, value and reason.  A `LateEventError`
            where the policy keeps nothing as old and no hold does: the event would be expired on arrival.
        QueueFullError
            The queue is at its bound, and the trail was opened with `on_full="raise"`.
        ClosedError
            The trail is closed, or a view of the past.
        StorageError
            What was accepted earlier could not be written.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> receipt = trail.append(action="doc.read", actor="ann", resource="doc/7", attrs={"bytes": 512})
        >>> receipt.wait()
        0
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
        ts: Literal["now"] | None = None,
        tz: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Receipt:
        """Accept many events as one batch.

        Either all of a batch is accepted or nothing, unless `on_invalid="dead-letter"`.  Lazy frames, readers and large tables
        are taken in chunks, each of them a batch: an error says how many rows are in.

        Parameters
        ----------
        rows : iterable of mappings, or a table
            Events by the names that `append` takes.  Further keys and columns go into attrs.  A table is a `pl.DataFrame`, a
            `pl.LazyFrame`, a pyarrow table or reader, or anything else with `__arrow_c_stream__`, such as a frame of pandas or a
            relation of DuckDB.  A mapping without `ts` happens now; a table must have the column.
        ts : "now" or None, default None
            `"now"` says that the rows of a table without a column `ts` happen now.
        tz : str, optional
            IANA zone of times that name none; without it they are refused.
        on_invalid : {"raise", "dead-letter"}, default "raise"
            Whether a row that cannot be an event, or is expired on arrival, raises, or is kept with its reason in the trail's folder `dead-letters`
            while the others are accepted.

        Returns
        -------
        Receipt
            `count` events; `wait()` returns the seq of the first one once all are durable, None for an empty input.

        Raises
        ------
        InvalidEventError
            A row cannot be an event; names position, field, value and reason.  Of its batch nothing is accepted.
        InvalidArgumentError
            `rows` is one mapping, a text, or nothing to iterate over.
        QueueFullError
            The queue is at its bound, and the trail was opened with `on_full="raise"`.
        ClosedError
            The trail is closed, or a view of the past.
        StorageError
            The batch, or what was accepted earlier, could not be written.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> receipt = trail.extend([{"action": "doc.read", "actor": "ann"}, {"action": "doc.print", "pages": 3}])
        >>> receipt.wait(), receipt.count
        (0, 2)
        >>> trail.range(columns=["action", "attrs"]).rows()
        [('doc.read', None), ('doc.print', '{"pages":3}')]
        """
        from auditkit.write.extend import extend as _extend

        return _extend(self._writable(), rows, ts=ts, tz=tz, on_invalid=on_invalid)

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
        """Move everything committed into segments, then enforce retention where that is due.

        On return the events are in segments, durable, and the catalog names them.  If it raises, the events are where they
        were; repeating it is safe.  Retention is left alone where the trail was opened with `maintain=False`.

        Returns
        -------
        FlushSummary
            `events`, `segments`, `bytes`, `first_seq`, `end_seq` (exclusive) and `seconds`.

        Raises
        ------
        LockedError
            Another process maintains the trail for longer than this one waits.
        StorageError
            A segment could not be written.
        ClosedError
            The trail is closed, or a view of the past.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> receipt = trail.append(action="doc.read")
        >>> trail.flush().events
        1
        """
        from auditkit.keep.maintain import flush_and_enforce

        return flush_and_enforce(self._writable())

    def maintain(self, *, now: datetime | None = None, compact: bool = False) -> MaintainSummary:
        """Do what is due: flush what is queued, roll it up, prune what is expired, and merge small segments.

        Small segments are merged in a partition that has eight or more of them, and once the horizon has left a partition
        behind, into as few files as it fills.

        Parameters
        ----------
        now : datetime or None, default None
            An aware moment to record first, so that a trail without new events ages: it moves the horizon as an event would.
            Not ahead of the machine's clock.
        compact : bool, default False
            Merge wherever a partition has two small segments.

        Returns
        -------
        MaintainSummary
            `flush`, `rollup`, `prune` and `compact`: what each did, None where it was not due.  `waiting`: what waits, and for what.

        Raises
        ------
        ValueError
            `now` lies ahead of the machine's clock.
        LockedError
            Another process maintains the trail for longer than this one waits.
        StorageError
            Something could not be written.
        ClosedError
            The trail is closed, or a view of the past.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> print(trail.maintain())
        nothing was due
        """
        from auditkit.keep.maintain import maintain as _maintain

        return in_zone(_maintain(self._writable(), now=now, thoroughly=compact), self.tz)

    def stats(self) -> Stats:
        """Return the state of the queue, the segments, retention and consumers in numbers.

        Returns
        -------
        Stats
            Frozen; `print` and notebooks show it as a card.  Fields that end in `seq`, and `accepted`, `committed` and
            `flushed`, are exclusive ends.

        Raises
        ------
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.append(action="doc.read").wait()
        0
        >>> trail.stats().queue.depth
        1
        """
        from auditkit.ask.stats import stats as _stats

        return in_zone(_stats(self._handle, self._view.snapshot()), self.tz)

    def close(self) -> None:
        """Commit what was accepted and give locks, files and threads back.  Closing twice is harmless.

        On return everything accepted is durable.

        Raises
        ------
        StorageError
            What was accepted could not be written, and no receipt has raised that yet.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.close()
        """
        if self._view.at is None and not self._handle.closed:
            self._handle.close()

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
        """Return the events of a window as a `LazyFrame` over queue and segments, in no particular order.

        The frame shows the events that were committed when it was made; it is planned when it is collected.  Filters added
        later on `ts`, and for single values of `actor`, `resource`, `correlation` and `id`, choose what is read.

        Parameters
        ----------
        start : str, datetime, date or None, default None
            First instant that counts: ISO text, an aware datetime, a date (its midnight in `tz`), or a duration before now
            such as `"-7d"`, or `"today"` or `"yesterday"`.  None: from the first event on.
        end : str, datetime, date or None, default None
            First instant that no longer counts (exclusive); a duration such as `"+1d"` counts from `start`.  None: to the
            last event.
        where : mapping, pl.Expr or None, default None
            Conditions, all of which must hold: column or `"attrs.path"` to a value, a glob (`"auth.*"`), a list of values,
            None (missing), or `{"not": …}` of these; `"text"` to words that occur in resource or attrs; or one Polars expression.
        own : bool, default False
            Whether the trail's own events (`source="auditkit"`) count too.
        tz : str, optional
            IANA zone in which dates and text without a zone are read, by default the trail's view zone.

        Returns
        -------
        pl.LazyFrame
            `seq` (UInt64), `ts` and `recorded` (Datetime in microseconds and the zone `tz`), `actor`, `action`, `resource`, `outcome`,
            `source`, `origin`, `correlation`, `id` (String), `value` (Float64), `attrs` (String, a JSON object), then the declared
            fields.

        Raises
        ------
        InvalidTimeError, InvalidQueryError
            An argument does not read; both are `ValueError` and name it.
        PrunedError
            In a view of the past: events of the window were pruned since.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann", "value": 2.5},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...         {"ts": "2025-11-24T08:10:00Z", "action": "doc.read", "actor": "ann", "bytes": 512},
        ...     ]
        ... ).wait()
        0
        >>> import polars as pl
        >>> trail.scan("2025-11-24").filter(pl.col("actor") == "ann").select(pl.len()).collect().item()
        2
        """
        from auditkit.ask.scan import scan as _scan

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

        An answer that would take more than half of the available memory is refused: `limit` and fewer `columns` make it small,
        `scan` goes through it in pieces.

        Parameters
        ----------
        start : str, datetime, date or None, default None
            First instant that counts: ISO text, an aware datetime, a date (its midnight in `tz`), or a duration before now
            such as `"-7d"`, or `"today"` or `"yesterday"`.  None: from the first event on.
        end : str, datetime, date or None, default None
            First instant that no longer counts (exclusive); a duration such as `"+1d"` counts from `start`.  None: to the
            last event.
        where : mapping, pl.Expr or None, default None
            Conditions, all of which must hold: column or `"attrs.path"` to a value, a glob (`"auth.*"`), a list of values,
            None (missing), or `{"not": …}` of these; `"text"` to words that occur in resource or attrs; or one Polars expression.
        columns : sequence of str, optional
            Columns of the answer, in this order; `"attrs.path"` is the value at a path of attrs, as `String`.
        limit : int, optional
            At most so many events, the first ones in the order of the answer.
        descending : bool, default False
            Whether the last events come first.
        own : bool, default False
            Whether the trail's own events (`source="auditkit"`) count too.
        tz : str, optional
            IANA zone in which dates and text without a zone are read, by default the trail's view zone.

        Returns
        -------
        pl.DataFrame
            `seq` (UInt64), `ts` and `recorded` (Datetime in microseconds and the zone `tz`), `actor`, `action`, `resource`, `outcome`,
            `source`, `origin`, `correlation`, `id` (String), `value` (Float64), `attrs` (String, a JSON object), then the declared
            fields; or the `columns` asked for.

        Raises
        ------
        InvalidTimeError, InvalidQueryError
            An argument does not read; both are `ValueError` and name it.
        PrunedError
            In a view of the past: events of the window were pruned since.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann", "value": 2.5},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...         {"ts": "2025-11-24T08:10:00Z", "action": "doc.read", "actor": "ann", "bytes": 512},
        ...     ]
        ... ).wait()
        0
        >>> trail.range("2025-11-24", "+1d", where={"action": "doc.*"}, columns=["actor", "attrs.bytes"]).rows()
        [('bob', None), ('ann', '512')]
        """
        from auditkit.ask.near import noted
        from auditkit.ask.range import range_

        found = range_(
            self._view, start, end, where=where, columns=columns, limit=limit, descending=descending, own=own, tz=tz
        )  # fmt: skip
        return found if limit == 0 else noted(found, self._view, start, end, where=where, own=own, tz=tz)

    def group_by(
        self,
        by: str | Sequence[str],
        *,
        every: str | timedelta | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        where: Where = None,
        aggs: Aggregations = None,
        own: bool = False,
        tz: str | None = None,
        tier: str | None = "auto",
    ) -> pl.DataFrame:
        """Count and measure events per key, and per bucket of time where `every` is given.

        Parameters
        ----------
        by : str or sequence of str
            Keys: columns or `"attrs.path"`; an empty list for totals.  A null key is a key like any other.
        every : str or timedelta, optional
            Length of a bucket: `"5m"`, `"1h"`, `"1d"`, `"1w"`, `"1mo"`.  None: no buckets.
        start : str, datetime, date or None, default None
            First instant that counts: ISO text, an aware datetime, a date (its midnight in `tz`), or a duration before now
            such as `"-7d"`, or `"today"` or `"yesterday"`.  None: from the first event on.
        end : str, datetime, date or None, default None
            First instant that no longer counts (exclusive); a duration such as `"+1d"` counts from `start`.  None: to the
            last event.
        where : mapping, pl.Expr or None, default None
            Conditions, all of which must hold: column or `"attrs.path"` to a value, a glob (`"auth.*"`), a list of values,
            None (missing), or `{"not": …}` of these; `"text"` to words that occur in resource or attrs; or one Polars expression.
        aggs : str, pl.Expr, list, mapping or None, default None
            Measures of `value` by name (`"count"`, `"value_count"`, `"sum"`, `"mean"`, `"min"`, `"max"`, `"p50"`, `"p95"`,
            `"p99"`, `"first"`, `"last"`, `"n_unique"`), Polars expressions over the events of a group, a list of these, or a
            mapping of column names to them.  None: `count` to `max`.
        own : bool, default False
            Whether the trail's own events (`source="auditkit"`) count too.
        tz : str, optional
            IANA zone whose wall clock the buckets follow, and in which dates and text without a zone are read; by default
            the trail's view zone.
        tier : str or None, default "auto"
            Where whole buckets may come from that `rollup` keeps: `"auto"` takes a tier where events are gone, or where it says the
            same for less; a name takes that tier wherever it can; None takes the events alone.

        Returns
        -------
        pl.DataFrame
            `ts` (start of the bucket, Datetime in microseconds and the zone `tz`; only with `every`), the keys, `count` and
            `value_count` (Int64), `sum`, `mean`, `min`, `max` (Float64; null where no event has a value); or what `aggs` asks
            for; in a trail with tiers also `tier` (String): the tier that the figures come from, or `"raw"` for the events, of a
            row that spans both `"1h, raw"`.  Sorted by ts, then keys, nulls last.

        Raises
        ------
        InvalidTimeError, InvalidQueryError
            An argument does not read; both are `ValueError` and name it.
        PrunedError
            In a view of the past: events of the window were pruned since.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann", "value": 2.5},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...         {"ts": "2025-11-24T08:10:00Z", "action": "doc.read", "actor": "ann", "bytes": 512},
        ...     ]
        ... ).wait()
        0
        >>> trail.group_by("action", aggs="count").rows()
        [('auth.login', 1), ('doc.read', 2)]
        >>> trail.group_by("actor", every="1h", aggs=["count", "sum"])["count", "sum"].rows()
        [(1, 2.5), (1, None), (1, None)]
        """
        from auditkit.ask.group import group_by as _group_by
        from auditkit.ask.near import noted

        groups = _group_by(
            self._view,
            by,
            every=every,
            start=start,
            end=end,
            where=where,
            aggs=aggs,
            own=own,
            tz=tz,
            tier=tier,
        )
        return noted(groups, self._view, start, end, where=where, own=own, tz=tz)

    def downsample(
        self,
        every: str | timedelta,
        *,
        by: str | Sequence[str] | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        where: Where = None,
        aggs: Aggregations = None,
        fill: Fill = UNFILLED,
        own: bool = False,
        tz: str | None = None,
        tier: str | None = "auto",
    ) -> pl.DataFrame:
        """Return a series: how many events, and what values, in each bucket of time.

        Parameters
        ----------
        every : str or timedelta
            Length of a bucket: `"5m"`, `"1h"`, `"1d"`, `"1w"`, `"1mo"`; from a day up they follow the calendar of `tz`.
        by : str, sequence of str or None, default None
            Keys, as in `group_by`: one series per combination of their values.
        start : str, datetime, date or None, default None
            First instant that counts: ISO text, an aware datetime, a date (its midnight in `tz`), or a duration before now
            such as `"-7d"`, or `"today"` or `"yesterday"`.  None: from the first event on.
        end : str, datetime, date or None, default None
            First instant that no longer counts (exclusive); a duration such as `"+1d"` counts from `start`.  None: to the
            last event.
        where : mapping, pl.Expr or None, default None
            Conditions, all of which must hold: column or `"attrs.path"` to a value, a glob (`"auth.*"`), a list of values,
            None (missing), or `{"not": …}` of these; `"text"` to words that occur in resource or attrs; or one Polars expression.
        aggs : str, pl.Expr, list, mapping or None, default None
            Measures of `value` by name (`"count"`, `"value_count"`, `"sum"`, `"mean"`, `"min"`, `"max"`, `"p50"`, `"p95"`,
            `"p99"`, `"first"`, `"last"`, `"n_unique"`), Polars expressions over the events of a group, a list of these, or a
            mapping of column names to them.  None: `count` to `max`.
        fill : None, float or "forward", optional
            What a bucket without events shows: nulls (None), a number in numeric columns, or what the bucket before it shows.
            Left out, such buckets are left out.
        own : bool, default False
            Whether the trail's own events (`source="auditkit"`) count too.
        tz : str, optional
            IANA zone whose wall clock the buckets follow, and in which dates and text without a zone are read; by default
            the trail's view zone.
        tier : str or None, default "auto"
            Where whole buckets may come from that `rollup` keeps: `"auto"` takes a tier where events are gone, or where it says the
            same for less; a name takes that tier wherever it can; None takes the events alone.

        Returns
        -------
        pl.DataFrame
            Columns and order as in `group_by` with `every`.

        Raises
        ------
        InvalidTimeError, InvalidQueryError
            An argument does not read; both are `ValueError` and name it.
        PrunedError
            In a view of the past: events of the window were pruned since.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann", "value": 2.5},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...         {"ts": "2025-11-24T08:10:00Z", "action": "doc.read", "actor": "ann", "bytes": 512},
        ...     ]
        ... ).wait()
        0
        >>> trail.downsample("30m", start="2025-11-24T07:00Z", end="+2h", aggs="count", fill=0)["count"].to_list()
        [1, 1, 1, 0]
        """
        from auditkit.ask.group import downsample as _downsample
        from auditkit.ask.near import noted

        series = _downsample(
            self._view,
            every,
            by=by,
            start=start,
            end=end,
            where=where,
            aggs=aggs,
            fill=fill,
            own=own,
            tz=tz,
            tier=tier,
        )
        return noted(series, self._view, start, end, where=where, own=own, tz=tz)

    def sql(
        self,
        query: str,
        *,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        own: bool = False,
        timeout_s: float | None = 60.0,
    ) -> pl.DataFrame:
        """Answer a `SELECT` over the table `events` in the dialect of DuckDB, which is the extra `sql`.

        DuckDB has the events and nothing else within reach: no files, no network, no settings, no variables of Python's.  Days and
        times without a zone are those of the trail's `tz`: `ts >= '2026-11-24'`, `ts::date`, `date_trunc('day', ts)`; hours are
        `time_bucket(INTERVAL '1 hour', ts, 'Europe/Stockholm')`, as `date_trunc` joins an hour that comes twice.  Conditions on `ts` and on single values choose what is read; a `LIMIT` does not, and the columns that a query names are held in memory.

        Parameters
        ----------
        query : str
            One `SELECT` statement of at most 20,000 characters, nested at most 200 deep.
        params : Mapping or Sequence, optional
            Values of `$name`, or of `?` in their order, which are never read as SQL; one may be a list: `actor IN (SELECT unnest($who))`.
        own : bool, default False
            Whether the trail's own events (`source="auditkit"`) count too.
        timeout_s : float or None, default 60.0
            How many seconds it may take; None is no bound.

        Returns
        -------
        pl.DataFrame
            What was selected, in the query's order.  Text is `String`, times are in `tz`, sums of integers `Int64`, intervals
            `Duration` (a month as 30 days); a type that Polars does not have comes as text.

        Raises
        ------
        InvalidQueryError
            It is not one `SELECT`, not SQL, names what is not there or out of reach, takes too long, or does not fit into memory.
        PrunedError
            In a view of the past: events of the window were pruned since.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.
        AuditError
            DuckDB is not installed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann", "value": 2.5},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...         {"ts": "2025-11-24T08:10:00Z", "action": "doc.read", "actor": "ann", "bytes": 512},
        ...     ]
        ... ).wait()
        0
        >>> trail.sql("SELECT actor, count(*) AS n FROM events GROUP BY actor ORDER BY actor").rows()
        [('ann', 2), ('bob', 1)]
        >>> trail.sql("SELECT attrs->>'$.bytes' AS bytes FROM events WHERE actor = $who AND bytes > '0'", params={"who": "ann"}).rows()
        [('512',)]
        """
        from auditkit.ask.sql import sql as _sql

        return _sql(self._view, query, params, own=own, timeout_s=timeout_s)

    def explore(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        where: Where = None,
        tz: str | None = None,
    ) -> Any:
        """Return an explorer, which a notebook shows: the events over time, by value and one by one; it is the extra `lab`.

        Drag over the timeline, keep or leave out values, search words.  What is selected is a question: "Copy as code" gives
        the call that asks it, and the explorer hands it to the next cell.  It shows the trail as it is now, whatever is
        appended later.  In a report, or where no kernel runs, its last state stays: a chart and the first events.

        Parameters
        ----------
        start, end : str, datetime, date, timedelta or None, optional
            The window whose events can be selected.
        where : mapping or None, optional
            Conditions on these events; an expression is not taken, as no code can be made of it.
        tz : str, optional
            IANA zone of what is shown and of bounds without one; default: the trail's.

        Returns
        -------
        Explorer
            With `frame()`, the selected events as a `DataFrame` in the columns of `schema`; `where` (a mapping) and `window` (a pair
            of aware datetimes or None), which every question takes; and `code()`.

        Raises
        ------
        InvalidQueryError
            A condition names what is not there, or is an expression.
        InvalidTimeError
            A bound or the zone does not read.
        PrunedError
            In a view of the past: events of the window were pruned since.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.
        AuditError
            anywidget is not installed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann"},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...     ]
        ... ).wait()
        0
        >>> explorer = trail.explore("2025-11-24", "+1d", where={"actor": "bob"})
        >>> explorer.frame()["action"].to_list(), explorer.where
        (['doc.read'], {'actor': 'bob'})
        """
        from auditkit.explorer.questions import Questions
        from auditkit.explorer.widget import Explorer

        return Explorer(self, self.name, Questions(self._view, start, end, where, tz))

    def watch(
        self,
        *,
        where: Where = None,
        n: int = 12,
        failures: Sequence[str] | None = None,
        own: bool = False,
        duration_s: float | None = None,
        tz: str | None = None,
    ) -> None:
        """Show events as they arrive, how many there are a second, and how many of them failed, until it is interrupted.

        The stop button of a notebook, or Ctrl-C, ends it; what it showed last stays.  Events of other processes show within half a
        second of their commit.  It holds a few events and counts, however many come.

        Parameters
        ----------
        where : mapping, pl.Expr or None, default None
            Conditions on the events that are shown and counted, as in `range`.
        n : int, default 12
            How many of the newest events are shown.
        failures : sequence of str, optional
            Which outcomes count as failures, as patterns in any case; default: the words that reports count.
        own : bool, default False
            Whether the trail's own events (`source="auditkit"`) count too.
        duration_s : float or None, default None
            Seconds after which it ends by itself; `None` watches until it is interrupted.
        tz : str, optional
            IANA zone of the times shown, by default the trail's view zone.

        Raises
        ------
        InvalidQueryError
            A condition names what is not there, or this is a view of the past, to which nothing comes.
        InvalidArgumentError
            A bad number.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import auditkit as ak
        >>> trail = ak.open("audit")  # doctest: +SKIP
        >>> trail.watch(where={"action": "auth.*"})  # doctest: +SKIP
        """
        from auditkit.explorer.watch import watch as _watch

        _watch(self._view, where=where, n=n, failures=failures, own=own, duration_s=duration_s, tz=tz)

    def tail(self, n: int = 10) -> pl.DataFrame:
        """Return the last events in the order of acceptance, the trail's own included.

        Parameters
        ----------
        n : int, default 10
            At most so many events.

        Returns
        -------
        pl.DataFrame
            `seq` (UInt64), `ts` and `recorded` (Datetime in microseconds and the zone `tz`), `actor`, `action`, `resource`, `outcome`,
            `source`, `origin`, `correlation`, `id` (String), `value` (Float64), `attrs` (String, a JSON object), then the declared
            fields; ordered by `seq`, ascending.

        Raises
        ------
        PrunedError
            In a view of the past: events among the last `n` were pruned since.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann", "value": 2.5},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...         {"ts": "2025-11-24T08:10:00Z", "action": "doc.read", "actor": "ann", "bytes": 512},
        ...     ]
        ... ).wait()
        0
        >>> trail.tail(2)["seq"].to_list()
        [1, 2]
        """
        from auditkit.ask.range import tail as _tail

        return _tail(self._view, n)

    def at(self, seq: int, *, allow_pruned: bool = False) -> "Trail":
        """Return the trail as it was when `seq` events were committed, read-only.

        Equal calls give equal answers.

        Parameters
        ----------
        seq : int
            Exclusive end of the seqs that are shown; `trail.end_seq` is the present one.
        allow_pruned : bool, default False
            Whether questions are answered with what is left where events have been pruned since, instead of raising.

        Returns
        -------
        Trail
            Its methods that change something raise `ClosedError`.

        Raises
        ------
        ValueError
            `seq` lies beyond the committed end.
        PrunedError
            Raised by a question that needs events which were pruned since.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.extend(
        ...     [
        ...         {"ts": "2025-11-24T07:00:00Z", "action": "auth.login", "actor": "ann", "value": 2.5},
        ...         {"ts": "2025-11-24T07:30:00Z", "action": "doc.read", "actor": "bob"},
        ...         {"ts": "2025-11-24T08:10:00Z", "action": "doc.read", "actor": "ann", "bytes": 512},
        ...     ]
        ... ).wait()
        0
        >>> trail.at(1).range(columns=["seq", "action"]).rows()
        [(0, 'auth.login')]
        """
        limit = self._view.at
        if limit is not None and seq > limit:
            raise InvalidQueryError("seq", seq, "beyond the end of this view", expected=f"0 to {limit}")
        view = View(handle=self._handle, at=seq, allow_pruned=allow_pruned, tz=self._view.tz)
        view.snapshot()
        return Trail(self._handle, view)

    # Keep

    @property
    def retention(self) -> Retention:
        """Retention in force: rules, holds and tiers, what is expired on disk, and what waits for what.

        Returns
        -------
        Retention
            Frozen; `print` and notebooks show it.  `policy` says the policy in words.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp(), retention={"auth.*": "7y", "*": "90d"})
        >>> print(trail.retention)
        keep auth.* 7y, * 90d
        """
        from auditkit.keep.state import retention_of

        return in_zone(retrying(lambda: retention_of(self._handle, self._view.snapshot())), self.tz)

    def set_retention(self, retention: RetentionRules | Policy, *, confirm: bool = False) -> Policy:
        """Keep events for `retention` from now on; the trail records that as an event of its own.

        A shorter policy hides more events at once, and the next prune removes them for good: it needs `confirm`, and says first
        what it would remove.  A longer one shows again what was not pruned yet.

        Parameters
        ----------
        retention : str, mapping, sequence or None
            A duration such as `"90d"`, `"18mo"` or `"7y"`, counted back from the trail's horizon; None: for ever.  Or rules in
            order, of which the first that matches an event counts, and without one it is kept for ever: patterns of actions,
            `{"auth.*": "7y", "debug.*": "7d", "*": "90d"}`, or conditions on action, source and outcome,
            `[({"outcome": "failure"}, "7y"), ({"action": "*"}, "90d")]`.  A rule names the trail's own events by their source only.
        confirm : bool, default False
            Whether events of the trail may be kept for less time.

        Returns
        -------
        Policy
            The policy in force; `str` says it in words.

        Raises
        ------
        InvalidArgumentError
            `retention` does not read, or keeps events for less time and is not confirmed.
        LockedError
            Another process maintains the trail for longer than this one waits.
        ClosedError
            The trail is closed, or a view of the past.
        StorageError
            The policy could not be written.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> str(trail.set_retention("90d"))
        'keep 90d'
        """
        from auditkit.keep.declare import set_policy

        return set_policy(self._writable(), retention, confirm=confirm)

    def hold(
        self,
        name: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        reason: str,
    ) -> PlacedHold:
        """Keep events from being pruned, and show them, whatever the policy says, until `release`; the trail records it.

        On return the hold is durable, and no prune removes what it matches, now or later accepted.

        Parameters
        ----------
        name : str
            What the hold is called.
        start, end : str, datetime, date or None, default None
            From when on and before when, as in `range`; None: no bound.
        where : mapping, optional
            Conditions, all of which must hold, as in `range`.
        reason : str
            Why, in words.

        Returns
        -------
        PlacedHold
            The hold in force.

        Raises
        ------
        HoldError
            A hold of this name is in force.
        InvalidArgumentError
            A name or reason is empty or too long, or a condition cannot be asked.
        LockedError
            Another process maintains the trail for longer than this one waits.
        ClosedError
            The trail is closed, or a view of the past.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp(), retention="90d")
        >>> print(trail.hold("case-42", where={"actor": "bob"}, reason="lawsuit"))
        hold case-42: actor is "bob" (lawsuit)
        """
        from auditkit.keep.declare import place_hold

        placed = place_hold(self._writable(), name, start, end, where=where, reason=reason, tz=self.tz)
        return in_zone(placed, self.tz)

    def release(self, name: str, *, reason: str) -> PlacedHold:
        """End a hold: what it alone kept is expired again, and the next prune removes it; the trail records it.

        Parameters
        ----------
        name : str
            The name of a hold in force.
        reason : str
            Why, in words.

        Returns
        -------
        PlacedHold
            The hold as it was.

        Raises
        ------
        HoldError
            No hold of this name is in force.
        InvalidArgumentError
            The reason is empty or too long.
        LockedError
            Another process maintains the trail for longer than this one waits.
        ClosedError
            The trail is closed, or a view of the past.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp(), retention="90d")
        >>> hold = trail.hold("case-42", reason="lawsuit")
        >>> trail.release("case-42", reason="settled").name
        'case-42'
        """
        from auditkit.keep.declare import release_hold

        return in_zone(release_hold(self._writable(), name, reason=reason), self.tz)

    def rollup(
        self,
        every: str | timedelta,
        *,
        by: str | Sequence[str] | None = None,
        keep: str | timedelta | None = None,
        tz: str | None = None,
        name: str | None = None,
    ) -> RollupSummary:
        """Declare a tier: counts and measures of `value` per bucket and key, which outlive the events; and fold what there is.

        Each event is folded once, also one that comes late, and no event is pruned before; `maintain` folds what comes.  The trail
        records the declaration as an event of its own.  A tier that there is can be given another `keep`, or fewer keys.

        Parameters
        ----------
        every : str or timedelta
            Length of a bucket, from a minute to ten years: `"1h"`, `"1d"`, `"1w"`, `"1mo"`; from a day up they follow the calendar
            of `tz`.
        by : str, sequence of str or None, default None
            Keys, of `actor`, `action`, `resource`, `outcome`, `source`, `origin` and `correlation`: one series per combination
            of their values, of which a tier has at most 10,000.
        keep : str, timedelta or None, default None
            How long a bucket is kept, counted back from the trail's horizon, such as `"5y"`; None: for ever.
        tz : str, optional
            IANA zone whose wall clock the buckets follow; by default the trail's view zone.
        name : str, optional
            Name of the tier: a-z, 0-9, `_` and `-`; by default what `every` says.

        Returns
        -------
        RollupSummary
            `events` folded, `stores` written, `bytes` of these.

        Raises
        ------
        InvalidQueryError, InvalidTimeError
            An argument does not read, the keys make too many series, or the name is that of another tier; all are `ValueError`.
        LockedError
            Another process maintains the trail for longer than this one waits.
        StorageError
            A store could not be written; `maintain` folds what is missing.
        ClosedError
            The trail is closed, or a view of the past.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp(), retention="90d")
        >>> trail.append(action="doc.read", outcome="success").wait()
        0
        >>> trail.rollup("1h", by=["action", "outcome"], keep="5y").events
        1
        """
        from auditkit.keep.rollup import declare_rollup

        keys = [] if by is None else [by] if isinstance(by, str) else list(by)
        zone = self._view.tz if tz is None else tz
        return declare_rollup(self._writable(), every, keys, name=name, keep=keep, tz=zone)

    def tier(self, name: str, start: Moment | None = None, end: Moment | None = None) -> Any:
        """Return a tier as one `xarray.Dataset`, which is the extra `xarray`; held in memory.

        Parameters
        ----------
        name : str
            Name of the tier.
        start : str, datetime, date or None, default None
            First instant in which a bucket may start; None: the first bucket that is kept.
        end : str, datetime, date or None, default None
            First instant in which none may start any more (exclusive); None: the last bucket.

        Returns
        -------
        xarray.Dataset
            Variables `count`, `value_count` (int64), `sum`, `min` and `max` (float64, NaN where no event has a value), of the
            dimensions `time` (start of the bucket, in UTC) and `series`.  Along `series` each key, and `<key>_is_null`.  Attributes say
            the length and the zone of the buckets, and `folded_seq`: events from there on are not in it yet.

        Raises
        ------
        InvalidQueryError
            There is no such tier, or it would not fit into memory.
        CorruptionError
            A store is not what was written.
        ClosedError
            The trail is closed.
        AuditError
            xarray is not installed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.append(action="doc.read", outcome="success").wait()
        0
        >>> summary = trail.rollup("1h", by="action")
        >>> int(trail.tier("1h")["count"].sum())
        1
        """
        from auditkit.ask.tier import tier as _tier

        return _tier(self._view, name, start, end)

    def plan_prune(self, *, now: datetime | None = None) -> PrunePlan:
        """Return what `prune` would remove, and why; changes nothing.

        Parameters
        ----------
        now : datetime or None, default None
            The moment to plan for, aware; None: the trail's horizon as it is.

        Returns
        -------
        PrunePlan
            `segments` with events to remove, `rows` and `bytes` in all; `print` shows it.

        Raises
        ------
        InvalidTimeError
            `now` lies ahead of the machine's clock.
        CorruptionError
            A file that is read is not what was written.
        ClosedError
            The trail is closed.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> print(trail.plan_prune())
        policy: keep for ever; nothing expires
        """
        from auditkit.keep.prune import plan_prune as _plan_prune

        return in_zone(retrying(lambda: _plan_prune(self._handle, self._view.snapshot(), now=now)), self.tz)

    def prune(self, plan: PrunePlan | None = None, *, now: datetime | None = None) -> PruneSummary:
        """Remove every expired event, to the microsecond; a tombstone for each segment records what went.

        On return no expired event is left in segments: those that hold nothing else went whole, those that the cutoff (exclusive)
        runs through were written anew.  If it raises, each event is removed in full or not at all; repeating it is safe.  What
        is not expired, and the trail's own events, are never touched.

        Parameters
        ----------
        plan : PrunePlan or None, default None
            Remove only what it names and is still expired; None: everything expired.
        now : datetime or None, default None
            An aware moment to record first: retention measures from it at once, however far ahead of the events it lies.
            Not ahead of the machine's clock.

        Returns
        -------
        PruneSummary
            `events`, `segments` and `bytes` removed, segments `rewritten`, and the `plan`.

        Raises
        ------
        InvalidTimeError
            `now` lies ahead of the machine's clock.
        LockedError
            Another process maintains the trail for longer than this one waits.
        StorageError
            A segment could not be written.
        ClosedError
            The trail is closed, or a view of the past.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> print(trail.prune())
        nothing to prune
        """
        from auditkit.keep.prune import prune as _prune

        return in_zone(_prune(self._writable(), plan, now=now), self.tz)

    def __dir__(self) -> list[str]:
        hidden = {"handle", "view"}
        return sorted(name for name in vars(Trail) if not name.startswith("_") and name not in hidden)

    def _writable(self) -> Handle:
        if self._view.at is not None:
            raise ClosedError(f"{self.path}: a view of seq {self._view.at} is read-only")
        return self._handle

    def __repr__(self) -> str:
        at = "" if self._view.at is None else f" at seq {self._view.at}"
        return f"<Trail {self.name!r}{at}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return the card that a notebook keeps and shows."""
        from auditkit.ask.card import trail_card

        return trail_card(self._view).bundle()
