"""What is wrong with a trail or will be, in plain words.  Pure: it goes by one moment of the trail and the clock alone.

It opens no segment and changes nothing, so it may be asked as often as one likes.  What heals by itself, or at the next
maintenance, is a note; what stays until a person acts needs one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from msgspec import Struct

from auditkit.display.cards import Card, make_card
from auditkit.keep.compact import plan_compaction
from auditkit.keep.plan import horizon_waits, plan_segments
from auditkit.keep.rollup import FOLD_AT_EVENTS
from auditkit.retention.horizon import WINDOW_US
from auditkit.store.records import FEATURES, MOST_SERIES, SegmentRow
from auditkit.text import ago, counted, minute, visible
from auditkit.timerange import Duration, Width, check_width, check_zone, from_us
from auditkit.trail.snapshot import Snapshot

_MINUTE_US = 60 * 1_000_000
_HOUR_US = 60 * _MINUTE_US
_DAY_US = 24 * _HOUR_US
SKEW_US = _MINUTE_US
"""Clocks that differ by less are as good as clocks are."""
LATE_US = _HOUR_US
"""What maintenance does every quarter of an hour is late behind this."""
NEGLECTED_US = _DAY_US
"""And nothing maintains the trail behind this."""
OVERDUE_US = 7 * _DAY_US
"""Events may stay so much longer than the policy says, by the clock, before a person should know."""
HELD_LONG_US = 365 * _DAY_US
"""A hold that is older may have been forgotten."""
MANY_FILES = 1_000
FAR_BEHIND = 2 * FOLD_AT_EVENTS
"""A tier that is so many events behind is not kept up to date by any process."""
_NEARLY = 0.9
_MAINTAIN = "`auditkit maintain`, from a timer, does it; `auditkit maintain --help` has a line for a crontab"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    about : str
        What it is about, in a word: `"queue"`, `"future"`, `"clock"`, `"files"`, `"retention"`, `"tiers"`, `"holds"` or
        `"version"`.
    needs_person : bool
        Whether it stays as it is until a person acts.
    text : str
        What was found.
    advice : str
        What to do about it.
    """

    about: str
    needs_person: bool
    text: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found, what needs a person first; `print` shows it, and a notebook shows it as a card."""

    findings: tuple[Finding, ...]

    @property
    def needs_person(self) -> bool:
        """Whether anything needs a person."""
        return any(finding.needs_person for finding in self.findings)

    @property
    def card(self) -> Card:
        """The findings as a card."""
        rows = [
            (f"{finding.about}{' !' if finding.needs_person else ''}", f"{finding.text}  {finding.advice}.")
            for finding in self.findings
        ]
        return make_card("Health of the trail", [("findings", rows or [("none", "Nothing is wrong.")])])

    def __str__(self) -> str:
        return str(self.card)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return what a notebook keeps and shows."""
        return self.card.bundle()


def diagnose(snapshot: Snapshot, *, now_us: int, tz: str) -> Diagnosis:
    """Return what is wrong with the trail at this moment, or will be; times are shown in the zone `tz`."""
    seen = _Seen(snapshot=snapshot, now_us=now_us, zone=check_zone(tz))
    checks = (_features, _queue, _future, _recorded, _producers, _waits, _overdue, _holds, _tiers, _files)
    found = [finding for check in checks for finding in check(seen)]
    return Diagnosis(findings=tuple(sorted(found, key=lambda finding: not finding.needs_person)))


class _Seen(Struct, frozen=True, kw_only=True):
    """The trail at one moment, and when that is."""

    snapshot: Snapshot
    now_us: int
    zone: tzinfo

    @property
    def segments(self) -> Sequence[SegmentRow]:
        return self.snapshot.catalog.segments

    @property
    def width(self) -> Width:
        return check_width(self.snapshot.catalog.info.partition)

    @property
    def waits_us(self) -> int | None:
        """How long the oldest event has been in the queue, `None` where none is."""
        waiting = self.snapshot.tail.get_column("recorded").to_physical()
        return max(0, self.now_us - int(waiting[0])) if len(waiting) else None

    def expired(self, horizon_us: int | None) -> list[SegmentRow]:
        """Return the segments with events that would surely be removed at a horizon, as far as the catalog tells."""
        policy, holds = self.snapshot.policy, self.snapshot.holds
        plan = plan_segments(self.segments, policy, horizon_us, holds=holds, exact=False)
        whole = {part.path for part in plan.segments}
        some = {part.path for part in plan.boundary}
        return [
            row
            for row in self.segments
            if row.path in whole
            or (
                row.path in some
                and row.combinations is not None
                and not any(hold.window.overlaps(row.min_ts_us, row.max_ts_us) for hold in holds)
            )
        ]

    def at(self, us: int) -> str:
        """Return a moment in words."""
        return minute(from_us(us).astimezone(self.zone))


def _features(seen: _Seen) -> Iterator[Finding]:
    unknown = sorted({row.name for row in seen.snapshot.catalog.features} - FEATURES)
    if unknown:
        yield Finding(
            about="version",
            needs_person=True,
            text=f"The trail holds what this version does not know ({', '.join(map(visible, unknown))}): it prunes, merges "
            "and copies nothing.",
            advice="install the version of auditkit that writes it",
        )


def _queue(seen: _Seen) -> Iterator[Finding]:
    waits = seen.waits_us
    if waits is not None and waits >= LATE_US:
        depth = counted(seen.snapshot.committed_seq - seen.snapshot.catalog.flushed_seq, "event")
        yield Finding(
            about="queue",
            needs_person=waits >= NEGLECTED_US,
            text=f"Since {_ago(waits)} nothing moves the queue into segments: {depth} in it.",
            advice=_MAINTAIN,
        )


def _future(seen: _Seen) -> Iterator[Finding]:
    newest = _newest(seen, "ts", [row.max_ts_us for row in seen.segments])
    if newest is None or newest - seen.now_us < SKEW_US:
        return
    several = sum(row.max_ts_us - seen.now_us >= SKEW_US for row in seen.segments)
    where = f" in {counted(several, 'segment')}" if several else ""
    yield Finding(
        about="future",
        needs_person=newest - seen.now_us > seen.snapshot.catalog.info.max_ahead_us,
        text=f"Events{where} are dated up to {seen.at(newest)}, {_ago(newest - seen.now_us)} ahead of this clock.",
        advice="see who sent them: `auditkit range --start +0s`; one of two clocks was wrong, and they stay as they are",
    )


def _recorded(seen: _Seen) -> Iterator[Finding]:
    flushes = seen.snapshot.catalog.flushes
    newest = _newest(seen, "recorded", [flushes[-1].last_recorded_us] if flushes else [])
    if newest is not None and newest - seen.now_us >= SKEW_US:
        yield Finding(
            about="clock",
            needs_person=True,
            text=f"Events were accepted at {seen.at(newest)}, {_ago(newest - seen.now_us)} ahead of this clock; until then "
            "whatever is accepted bears that time.",
            advice="find out which machine's clock is wrong: this one's, or that of a writer",
        )


def _producers(seen: _Seen) -> Iterator[Finding]:
    ahead = [
        row.producers_max_ts_us - row.max_recorded_us
        for row in seen.segments
        if row.producers_max_ts_us is not None
    ]
    skewed = [us for us in ahead if us >= SKEW_US]
    if skewed:
        yield Finding(
            about="clock",
            needs_person=False,
            text=f"In {counted(len(skewed), 'segment')} events are dated up to {_ago(max(skewed))} later than they were "
            "accepted: the clock of a producer is ahead.",
            advice='`auditkit sql "SELECT source, max(ts - recorded) AS ahead FROM events GROUP BY source"` says whose',
        )


def _waits(seen: _Seen) -> Iterator[Finding]:
    for waits in horizon_waits(seen.snapshot):
        horizon, first, last = (
            minute(moment.astimezone(seen.zone)) for moment in (waits.horizon, waits.first, waits.last)
        )
        yield Finding(
            about="retention",
            needs_person=False,
            text=f"The horizon stays at {horizon} and expires nothing more: events from {first} to {last} lie too far "
            f"ahead of it, and count once they span {WINDOW_US // _HOUR_US} hours.",
            advice="events of the next days move it; where none will come, `auditkit maintain --now now` from a timer does",
        )


def _holds(seen: _Seen) -> Iterator[Finding]:
    for hold in seen.snapshot.holds:
        if seen.now_us - hold.placed_us >= HELD_LONG_US:
            yield Finding(
                about="holds",
                needs_person=True,
                text=f"The hold {visible(hold.name)} was placed {_ago(seen.now_us - hold.placed_us)} ago "
                f"({visible(hold.reason)}).",
                advice="see whether it is still needed: `auditkit release NAME --reason TEXT` ends it",
            )


def _overdue(seen: _Seen) -> Iterator[Finding]:
    snapshot, horizon_us = seen.snapshot, seen.snapshot.horizon_us
    expired = seen.expired(seen.now_us - OVERDUE_US)
    if not expired:
        return
    several, oldest_us = counted(len(expired), "segment"), min(row.min_ts_us for row in expired)
    if horizon_us is not None and seen.now_us - horizon_us > OVERDUE_US:
        why = f"the horizon stands at {seen.at(horizon_us)}, as no events have moved it since"
        advice = "`auditkit maintain --now now`, from a timer, lets an idle trail age"
    else:
        why, advice = (
            "nothing has removed them",
            "`auditkit prune --dry-run` shows them, `auditkit prune` removes them",
        )
    yield Finding(
        about="retention",
        needs_person=True,
        text=f"By this clock {several} {'holds' if len(expired) == 1 else 'hold'} events that the policy "
        f"({visible(str(snapshot.policy))}) keeps no longer, from {seen.at(oldest_us)} on: {why}.",
        advice=advice,
    )


def _tiers(seen: _Seen) -> Iterator[Finding]:
    snapshot, catalog = seen.snapshot, seen.snapshot.catalog
    expired = {row.path for row in seen.expired(snapshot.horizon_us)}
    for tier in snapshot.tiers.values():
        name, end_seq = f"The tier {visible(tier.name)}", catalog.folded_of(tier.name)
        unfolded = [row for row in seen.segments if row.last_seq >= end_seq]
        late_us = max((seen.now_us - row.min_recorded_us for row in unfolded), default=0)
        if late_us >= NEGLECTED_US:
            behind, blocks = catalog.flushed_seq - end_seq, any(row.path in expired for row in unfolded)
            waits = ", and a prune waits for it" if blocks else ""
            yield Finding(
                about="tiers",
                needs_person=blocks or behind >= FAR_BEHIND,
                text=f"{name} is {counted(behind, 'event')} behind, the oldest accepted {_ago(late_us)} ago{waits}.",
                advice=_MAINTAIN,
            )
        if tier.keep is not None and not _outlives(tier.keep, snapshot.policy.keep, seen.now_us):
            yield Finding(
                about="tiers",
                needs_person=False,
                text=f"{name} is kept for {tier.keep.text}, no longer than the events themselves ({visible(str(snapshot.policy))}): it "
                "outlives nothing.",
                advice="declare it with a longer keep time",
            )
        series = max((row.series for row in catalog.rollups if row.tier == tier.name), default=0)
        if series > _NEARLY * MOST_SERIES:
            yield Finding(
                about="tiers",
                needs_person=True,
                text=f"{name} has {series:,} series in one store; beyond {MOST_SERIES:,} it goes no further.",
                advice="declare it with one key less: `auditkit group-by` shows which has the most values",
            )


def _outlives(tier: Duration, raw: Duration | None, now_us: int) -> bool:
    return raw is not None and tier.before(now_us, "UTC") < raw.before(now_us, "UTC")


def _files(seen: _Seen) -> Iterator[Finding]:
    merges = plan_compaction(seen.segments, seen.width, seen.snapshot.horizon_us)
    small = sum(len(merge.segments) for merge in merges)
    if small:
        yield Finding(
            about="files",
            needs_person=small >= MANY_FILES,
            text=f"{counted(small, 'small segment')} in {counted(len(merges), 'partition')} would make "
            f"{counted(len(merges), 'large one')}, of which questions read less.",
            advice=_MAINTAIN,
        )


def _newest(seen: _Seen, column: str, known: list[int]) -> int | None:
    """Return the largest time in this column: `known` of segments, or in the queue."""
    if seen.snapshot.tail.height:
        known = [*known, int(seen.snapshot.tail.get_column(column).to_physical().max())]  # type: ignore[arg-type]
    return max(known, default=None)


def _ago(us: int) -> str:
    return ago(us / 1e6)
