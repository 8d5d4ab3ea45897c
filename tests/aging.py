"""Making trails old: the horizon of a trail as its rule is written down, and moved without the events of weeks."""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce

from auditkit.api import Trail
from auditkit.keep.prune import record_now

State = tuple[int | None, int | None, int | None]
"""The horizon, and the first and the newest of what waits ahead of it."""
NOTHING: State = (None, None, None)


def trust(trail: Trail, moment: datetime) -> None:
    """Let a trail trust a moment, as a prune by hand does, and prune nothing."""
    record_now(trail.handle, moment, confirmed=True)


def accept_late(trail: Trail, *, accept: bool = True) -> None:
    """Accept what is expired on arrival from now on, as where the horizon has moved before a commit: it is hidden."""
    trail.handle.late.judges = not accept
    trail.handle.late.forget()


def step(state: State, moment: int, window: int) -> State:
    """Return what one more event makes of a state."""
    horizon, first, newest = state
    if horizon is not None and moment <= horizon + window:
        horizon = max(horizon, moment)
        return (horizon, None, None) if moment >= horizon - window else (horizon, first, newest)
    if first is None or newest is None or moment < first:
        return horizon, moment, moment
    if moment < first + window:
        return horizon, first, max(newest, moment)
    return step((newest if horizon is None else max(horizon, newest), None, None), moment, window)


def horizon_of(moments: Iterable[tuple[int, bool]], window: int) -> int | None:
    """Return the horizon after moments of events, and of prunes by hand (True), in order."""

    def after(state: State, one: tuple[int, bool]) -> State:
        moment, is_confirmed = one
        if not is_confirmed:
            return step(state, moment, window)
        return state if state[0] is not None and moment < state[0] else (moment, None, None)

    return reduce(after, moments, NOTHING)[0]
