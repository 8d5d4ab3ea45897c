"""The trusted horizon: which histories move it, which do not, and that it never runs ahead of what was seen."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.retention.horizon import WINDOW_US, Horizon
from tests.aging import NOTHING, State, step

HOUR = 3_600_000_000
DAY = 24
W = 36


def rule(hours: list[int]) -> list[State]:
    """Return the state after each event."""
    return list(accumulate(hours, lambda state, hour: step(state, hour, W), initial=NOTHING))[1:]


def folded(hours: list[int], state: Horizon = Horizon()) -> Horizon:  # noqa: B008 -- frozen
    """Return the state after events at these hours."""
    return state.after(np.array(hours, dtype="<i8") * HOUR)


def in_hours(horizon: Horizon) -> State:
    """Return a state in hours."""
    values = (horizon.trusted_us, horizon.waiting_from_us, horizon.waiting_to_us)
    one, two, three = (None if us is None else us // HOUR for us in values)
    return one, two, three


USUAL = list(range(240))
NIGHTS = [day * DAY + 22 + part for day in [*range(15), *range(25, 75)] for part in range(3)]
RARE = [day * 8 * DAY + hour for day in range(10) for hour in (1, 9, 17)]
YEARS = list(range(0, 730 * DAY, 3))
HISTORIES: dict[str, tuple[list[int], int | None]] = {
    "nothing": ([], None),
    "one event": ([5], None),
    "a first day and a half": (USUAL[:36], None),
    "the hour after it": (USUAL[:37], 36),
    "ten days": (USUAL, 239),
    "one event two days ahead": ([*USUAL, 239 + 48], 239),
    "and the days after it": ([*USUAL, 239 + 48, *range(240, 300)], 299),
    "one of four writers two days ahead": (
        [e for hour in USUAL for e in (hour, hour, hour, hour + 48)],
        239,
    ),
    "a clock ten years ahead for an hour": ([*USUAL, *range(87_600, 87_601), 240, 241], 241),
    "and nothing after it": ([*USUAL, *[87_600] * 50], 239),
    "a first event from the future": ([87_600, *USUAL], 239),
    "ten days' outage, two nights after": ([e for e in NIGHTS if e < 27 * DAY + 1], 15 * DAY),
    "ten days' outage, three nights after": ([e for e in NIGHTS if e < 28 * DAY + 1], 28 * DAY),
    "ten days' outage, fifty nights after": (NIGHTS, NIGHTS[-1]),
    "a batch every eight days": (RARE, RARE[-4]),
    "two years in order": (YEARS, YEARS[-1]),
    "two years and one current event": ([*YEARS, YEARS[-1] + 400 * DAY], YEARS[-1]),
    "two years and three days": (
        [*YEARS, *(YEARS[-1] + (400 + day) * DAY for day in range(4))],
        YEARS[-1] + 403 * DAY,
    ),
    "two years newest first": (YEARS[::-1], None),
    "late events": ([*USUAL, *range(0, 100, 7)], 239),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_histories(name: str) -> None:
    """What each history leaves trusted is what the rule says, and what whoever reads it expects."""
    hours, expected = HISTORIES[name]
    found = in_hours(folded(hours))
    assert found == (rule(hours)[-1] if hours else NOTHING)
    assert found[0] == expected


near = st.integers(0, 60)
far = st.integers(-400, 4_000)
stretches = st.lists(
    st.tuples(far, st.lists(near, max_size=40)).map(lambda found: [found[0] + hour for hour in found[1]]),
    max_size=12,
).map(lambda found: [hour for stretch in found for hour in stretch])


@given(stretches, st.integers(1, 50), st.lists(st.integers(0, 400), max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_fold_is_the_rule(hours: list[int], block: int, cuts: list[int]) -> None:
    """However events are cut into flushes, and looked at together, the state is what the rule says of one after another."""
    states = [NOTHING, *rule(hours)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auditkit.retention.horizon._BLOCK", block)
        state, begin = Horizon(), 0
        for end in [*sorted(cut for cut in cuts if cut < len(hours)), len(hours)]:
            state = folded(hours[begin:end], state)
            assert in_hours(state) == states[end]
            begin = end


@given(stretches)
@settings(max_examples=200, deadline=None)
def test_the_horizon_is_confirmed_and_never_goes_back(hours: list[int]) -> None:
    """It never goes back, is never beyond the newest event, and one event moves it by a window, or to an event before it."""
    before = None
    for place, (horizon, _, _) in enumerate(rule(hours)):
        seen = hours[: place + 1]
        assert in_hours(folded(seen))[0] == horizon
        if before is not None:
            assert horizon is not None
            assert horizon >= before
        if horizon is not None:
            assert horizon in seen
            assert before is None or horizon <= before + W or len([e for e in seen if e > before + W]) > 1
        before = horizon


@pytest.mark.parametrize(
    ("hours", "now", "confirmed", "expected"),
    [
        ([], 7, True, (7, None, None)),
        ([], 7, False, (None, 7, 7)),
        (USUAL, 240 + 90 * DAY, True, (240 + 90 * DAY, None, None)),
        (USUAL, 240 + 90 * DAY, False, (239, 240 + 90 * DAY, 240 + 90 * DAY)),
        (USUAL, 250, False, (250, None, None)),
        (USUAL, 100, True, (239, None, None)),
        ([*USUAL, 500], 260, True, (260, None, None)),
    ],
)
def test_a_recorded_now(hours: list[int], now: int, confirmed: bool, expected: State) -> None:
    """A moment that was confirmed is trusted at once; one that a timer records counts as an event."""
    assert in_hours(folded(hours).after_moment(now * HOUR, confirmed=confirmed)) == expected


def test_the_window() -> None:
    """An event exactly a window ahead moves the horizon, one a microsecond further waits."""
    state = Horizon(trusted_us=0)
    assert state.after(np.array([WINDOW_US])) == Horizon(trusted_us=WINDOW_US)
    assert state.after(np.array([WINDOW_US + 1])).trusted_us == 0
