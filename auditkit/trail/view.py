"""The view that a trail is asked through: which seqs are shown, and in which zone times are read."""

from datetime import datetime

from msgspec import Struct

from auditkit.store.files import retrying
from auditkit.timerange import TimeRange, counts_from_now, from_us, resolve, to_us
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import Snapshot


class View(Struct, frozen=True, kw_only=True):
    """Which seqs are asked about, and in which zone times without one are read."""

    handle: Handle
    at: int | None
    allow_pruned: bool
    tz: str

    def snapshot(self) -> Snapshot:
        """Return what the trail holds now, or held at `at`; a writer commits what it has accepted first."""
        self.handle.check_query()
        writer = self.handle.writer
        if writer is not None and writer.pending_events:
            writer.commit()
        return self.handle.reader.snapshot(self.at, allow_pruned=self.allow_pruned)

    def now(self) -> datetime:
        """Return the moment that "-1h" counts from: the clock's, or the acceptance of the last seq shown."""
        if self.at is None:
            return from_us(self.handle.clock.now_us())
        accepted = retrying(lambda: self.handle.reader.accepted_us(self.snapshot()))
        return from_us(self.handle.info.created_us if accepted is None else accepted)


def window_and_now(view: View, start: object, end: object, tz: str | None) -> tuple[TimeRange, datetime]:
    """Return the window and the moment that durations in it count from, asked for only where there are some."""
    now = view.now() if counts_from_now(start) or counts_from_now(end) else from_us(0)
    return resolve(start, end, now_us=to_us(now), tz=tz or view.tz), now
