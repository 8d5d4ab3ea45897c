"""What people decide: the policy, holds and their ends.  Each decision is an event of the trail's own.

A decision is made under the lock of maintenance: a prune is over before, or goes by it.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.context import bound
from auditkit.errors import HoldError, InvalidArgumentError, InvalidQueryError
from auditkit.keep.expired import count_expired, read_events
from auditkit.keep.summaries import PlacedHold, placed_holds
from auditkit.retention.holds import MOST_HOLDS, read_hold, spec_of
from auditkit.retention.policy import RULE_COLUMNS, Policy, RetentionRules, declare_policy
from auditkit.retention.visibility import Expiry
from auditkit.store.records import SegmentRow
from auditkit.text import counted, did_you_mean, visible
from auditkit.timerange import Moment, resolve
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import HOLD_PLACED, HOLD_RELEASED, POLICY_SET, Snapshot
from auditkit.where import Where, conditions
from auditkit.write.append import append_own

_MOST_NAME = 200
_MOST_REASON = 10_000


class Shortening(Struct, frozen=True, kw_only=True):
    """What another policy would do to the events that there are."""

    keeps_less: bool
    """Whether some of them would be kept for less time."""
    expiring: int
    """How many of those shown would not be any more, and be removed by the next prune."""


def set_policy(handle: Handle, retention: RetentionRules | Policy, *, confirm: bool) -> Policy:
    """Declare a policy from the next event on; it is in force once this returns.

    One that keeps events of the trail for less time is an `InvalidArgumentError` that says what it would remove, unless
    it is confirmed.
    """
    policy = declare_policy(retention)
    with handle.maintenance():
        if not confirm:
            found = foresee_policy(handle, policy)
            if found.keeps_less:
                reason = f"keeps events for less time, and {_lost(found.expiring)}"
                error = InvalidArgumentError("retention", str(policy), reason)
                error.add_note("confirm=True decides so all the same")
                raise error
        append_own(handle, POLICY_SET, {"policy": policy.spec}, actor=_actor())
        handle.late.forget()
    return policy


def _lost(expiring: int) -> str:
    verb = "expires" if expiring == 1 else "expire"
    return f"{counted(expiring, 'event')} that {'is' if expiring == 1 else 'are'} shown now {verb} by it"


def foresee_policy(handle: Handle, policy: Policy) -> Shortening:
    """Return what a policy would do; writes nothing."""
    if handle.writer is not None:
        handle.writer.commit()
    snapshot = handle.reader.snapshot()
    old, horizon_us = snapshot.expiry, snapshot.horizon_us
    new = Expiry(policy=policy, cutoffs=policy.cutoffs_us(horizon_us), holds=old.holds)
    expiring = snapshot.tail.filter(new.expression & ~old.expression).height
    expiring += sum(_expiring(handle, snapshot, row, new) for row in snapshot.catalog.segments)
    return Shortening(keeps_less=bool(expiring) or _keeps_less(handle, snapshot, policy), expiring=expiring)


def _expiring(handle: Handle, snapshot: Snapshot, row: SegmentRow, new: Expiry) -> int:
    """Count the events of a segment that are shown, and would not be."""
    old = snapshot.expiry
    if new.of(row) == "nothing":
        return 0
    if old.of(row) == "nothing":
        return count_expired(handle, snapshot, row, new).rows
    new, old = (replace(one, holds=one.held_in(row)) for one in (new, old))
    columns = new.columns(row) | old.columns(row) | {"ts", "source"}
    read = read_events(handle, row, columns, snapshot.stored)
    return read.filter(new.expression & ~old.expression).height


def _keeps_less(handle: Handle, snapshot: Snapshot, policy: Policy) -> bool:
    """Return whether events that there are would be kept for less time."""
    now_us = handle.clock.now_us()
    old = [*snapshot.policy.cutoffs_us(now_us), None]
    new = [*policy.cutoffs_us(now_us), None]
    for frame in _kinds(handle, snapshot):
        places = frame.select(old=snapshot.policy.place, new=policy.place).unique()
        for was, will in places.iter_rows():
            before, after = old[was], new[will]
            if after is not None and (before is None or before < after):
                return True
    return False


def _kinds(handle: Handle, snapshot: Snapshot) -> list[pl.DataFrame]:
    """Return the combinations of what rules look at in the trail, the trail's own events among them."""
    schema = dict.fromkeys(RULE_COLUMNS, pl.String())
    known = {row.combinations for row in snapshot.catalog.segments if row.combinations is not None}
    frames = [
        pl.DataFrame({"rows": [text]})
        .select(
            pl.col("rows")
            .str.json_decode(pl.List(pl.List(pl.String)))
            .explode()
            .list.to_struct(fields=RULE_COLUMNS)
        )
        .unnest("rows")
        for text in known
    ]
    read = [
        read_events(handle, row, RULE_COLUMNS, snapshot.stored).unique()
        for row in snapshot.catalog.segments
        if row.combinations is None
    ]
    return [*frames, *read, snapshot.tail.select(pl.col(name).cast(pl.String) for name in schema).unique()]


def place_hold(
    handle: Handle,
    name: str,
    start: Moment | None,
    end: Moment | None,
    *,
    where: Where,
    reason: str,
    tz: str,
) -> PlacedHold:
    """Place a hold; once this returns it is durable, and no prune removes what it matches."""
    _check_text("hold", name, _MOST_NAME)
    _check_text("reason", reason, _MOST_REASON)
    window = resolve(start, end, now_us=handle.clock.now_us(), tz=tz)
    if where is not None and not isinstance(where, Mapping):
        raise InvalidQueryError("where", where, "is no mapping, which alone can be kept")
    conditions(where or {}, handle.schema.columns)
    read_hold(name, reason, 0, window, spec_of(where), handle.schema.columns)
    with handle.maintenance():
        if handle.writer is not None:
            handle.writer.commit()
        in_force = {hold.name for hold in handle.reader.snapshot().holds}
        if name in in_force or len(in_force) >= MOST_HOLDS:
            fact = (
                "there is one of this name already"
                if name in in_force
                else f"{MOST_HOLDS:,} are in force already"
            )
            raise HoldError(f"hold: {fact} (found {name!r})")
        attrs: dict[str, Any] = {
            "name": name,
            "where": spec_of(where),
            "reason": reason,
            "placed_us": handle.clock.now_us(),
        }
        attrs |= {} if window.start_us is None else {"start_us": window.start_us}
        attrs |= {} if window.end_us is None else {"end_us": window.end_us}
        append_own(handle, HOLD_PLACED, attrs, actor=_actor(), resource=name)
    (placed,) = [hold for hold in placed_holds(handle.reader.snapshot().holds) if hold.name == name]
    return placed


def release_hold(handle: Handle, name: str, *, reason: str) -> PlacedHold:
    """End a hold; what it alone kept is hidden once this returns, and removed by the next prune."""
    _check_text("reason", reason, _MOST_REASON)
    with handle.maintenance():
        if handle.writer is not None:
            handle.writer.commit()
        in_force = {hold.name: hold for hold in placed_holds(handle.reader.snapshot().holds)}
        if name not in in_force:
            error = HoldError(
                f"hold: no such hold is in force{did_you_mean(name, in_force)} (found {name!r})"
            )
            error.add_note(f"in force: {', '.join(map(visible, in_force)) or 'none'}")
            raise error
        append_own(handle, HOLD_RELEASED, {"name": name, "reason": reason}, actor=_actor(), resource=name)
    return in_force[name]


def _check_text(what: str, text: object, most: int) -> None:
    if not isinstance(text, str) or not text.strip() or len(text) > most:
        raise InvalidArgumentError(what, text, "is no text", expected=f"1 to {most:,} characters")


def _actor() -> str | None:
    actor = bound().get("actor")
    return actor if isinstance(actor, str) else None
