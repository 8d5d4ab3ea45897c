"""Late events: what the policy would hide as soon as it was accepted is refused, and counted.

An event is judged as a question would judge it: by the horizon, the rule it goes by, and the holds.  That takes a
snapshot, so it is done only for events older than the shortest keep time, counted back from the machine's clock.  That
time is looked up in the catalog now and then: a shorter policy of another process is known once it is flushed.  Until
then, and between being accepted and being committed, what is late is accepted and hidden.
"""

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import polars as pl
import pyarrow as pa

from auditkit.arrow import Numbers, to_numpy
from auditkit.errors import LateEventError
from auditkit.event import FIRST_US, EventSchema, Row
from auditkit.queue.payload import Batch, as_arrow
from auditkit.retention.policy import Policy, read_policy
from auditkit.retention.visibility import Expiry
from auditkit.store.files import retrying
from auditkit.text import minute
from auditkit.timerange import from_us
from auditkit.trail.reader import SnapshotReader

LOOK_EVERY_US = 10_000_000
_FOR_EVER_US = 1 << 62
_moment = itemgetter(0)

Late = tuple[int, LateEventError]
"""The place of a late event in its batch, and what is to be said of it."""


class LateGate:
    """Judges the events that one open trail is given, whichever thread asks; `judges` is false in a forked child.

    There a snapshot may wait for ever for threads that are gone, so everything passes.
    """

    def __init__(self, reader: SnapshotReader, schema: EventSchema, *, judges: bool) -> None:
        self._reader = reader
        self._schema = schema
        self.judges = judges
        self._policy = Policy()
        self._known_seq: int | None = None
        """Up to which seq the policy is known."""
        self._shortest_us = _FOR_EVER_US
        self._horizon_us = 0
        """The latest that is known: ahead of a machine's clock that was set back."""
        self._looked_us: int | None = None
        self.refused = 0
        """How many events `append` and `extend` have refused."""

    def forget(self) -> None:
        """Look the policy up at the next event: another was declared."""
        self._known_seq = self._looked_us = None

    def suspects_before_us(self, now_us: int) -> int:
        """Return the moment before which an event may be late."""
        looked_us = self._looked_us
        if looked_us is None or not looked_us <= now_us < looked_us + LOOK_EVERY_US:
            self._look(now_us)
        return max(now_us, self._horizon_us) - self._shortest_us

    def check(self, row: Row, now_us: int) -> None:
        """Raise `LateEventError` where a row is late."""
        for _, error in self.late_of([row], now_us):
            self.refused += 1
            raise error

    def late_of(self, events: Batch, now_us: int) -> Sequence[Late]:
        """Return which events of a batch are late, in their order."""
        before_us = self.suspects_before_us(now_us)
        if before_us <= FIRST_US or not len(events):  # no event is as old
            return []
        if isinstance(events, pa.RecordBatch):
            stamps, _ = to_numpy(events.column("ts"))
        else:
            stamps = np.fromiter(map(_moment, events), "<i8", len(events))
        (places,) = np.nonzero(stamps < before_us)
        if not len(places):
            return []
        if isinstance(events, pa.RecordBatch):
            suspects = pl.DataFrame(events)[places]
        else:
            suspects = pl.DataFrame(as_arrow([events[place] for place in places.tolist()], self._schema))
        frame = suspects.with_columns(
            seq=pl.lit(self._known_seq or 0, pl.UInt64), recorded=pl.lit(from_us(now_us))
        )
        return self._judged(frame, places, now_us)

    def _judged(self, frame: pl.DataFrame, places: Numbers, now_us: int) -> Sequence[Late]:
        """Return which of these events are late; the trail is asked only where not every rule keeps them for longer."""
        cutoffs = self._policy.cutoffs_us(max(now_us, self._horizon_us))
        old = _expired(frame, Expiry(policy=self._policy, cutoffs=cutoffs))
        if not old.any():
            return []
        snapshot = retrying(self._reader.snapshot)
        self._learn(snapshot.policy, snapshot.as_of, snapshot.horizon_us)
        frame, places, expiry = frame.filter(old), places[old], snapshot.expiry
        late = _expired(frame, expiry)
        rules = frame.filter(late).select(pl.col("ts").to_physical(), rule=expiry.policy.place)
        found: list[Late] = []
        for place, (us, number) in zip(places[late].tolist(), rules.iter_rows(), strict=True):
            cutoff_us = expiry.cutoffs[number]
            assert cutoff_us is not None  # noqa: S101 -- else it were not expired
            kept = f"rule {expiry.policy.rules[number]} keeps what is from {minute(from_us(cutoff_us))} on"
            error = LateEventError("ts", from_us(us), f"expired on arrival: {kept}")
            error.add_note("a longer policy, or a hold on its time, lets it in")
            found.append((place, error))
        return found

    def _look(self, now_us: int) -> None:
        self._looked_us = now_us
        if not self.judges:
            self._shortest_us = _FOR_EVER_US
        elif self._known_seq is None:
            snapshot = retrying(self._reader.snapshot)
            self._learn(snapshot.policy, snapshot.as_of, snapshot.horizon_us)
        else:
            catalog = self._reader.catalog.read()
            row, horizon_us = (
                catalog.policies[-1],
                catalog.flushes[-1].trusted_us if catalog.flushes else None,
            )
            policy = read_policy(row.spec) if row.from_seq > self._known_seq else self._policy
            self._learn(policy, max(self._known_seq, row.from_seq), horizon_us)

    def _learn(self, policy: Policy, known_seq: int, horizon_us: int | None) -> None:
        self._policy, self._known_seq = policy, known_seq
        self._horizon_us = max(self._horizon_us, horizon_us or 0)
        kept = [rule.keep.shortest_us for rule in policy.rules if rule.keep is not None]
        self._shortest_us = min(kept, default=_FOR_EVER_US)


def _expired(frame: pl.DataFrame, expiry: Expiry) -> Numbers:
    """Return which events are expired."""
    marked: Numbers = frame.select(pl.col("ts").is_not_null() & expiry.expression).to_series().to_numpy()
    return marked
