"""The summary: what stands out of a window is said in sentences that its counts carry, and nothing else is said."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import auditkit as ak
from auditkit import Trail
from auditkit.reporting.scope import failing_outcomes
from auditkit.reporting.summary import summary
from tests.reporting.material import PAYLOADS, ROOT

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
DAY = timedelta(days=1)
Make = Callable[..., Trail]


def sentences(trail: Trail, start: Any = None, end: Any = None, **options: Any) -> tuple[str, ...]:
    """Return the summary of a window."""
    options = {"where": None, "silent": (), "failures": failing_outcomes(trail, None), **options}
    return summary(trail, start, end, **options)


def filled(make_trail: Make, events: list[dict[str, Any]], **options: Any) -> Trail:
    """Return a trail with these events, each `hour` hours after Monday."""
    trail = make_trail(**options)
    rows = [{"action": "read", **event, "ts": MONDAY + timedelta(hours=event["hour"])} for event in events]
    trail.extend([{key: value for key, value in row.items() if key != "hour"} for row in rows]).wait()
    return trail


def test_the_simulated_week_gives_its_incidents_away() -> None:
    """An analyst who reads the summary meets all three incidents that are hidden in the week, and their addresses."""
    with ak.open(ROOT / "data" / "firm-week", maintain=False) as trail:
        found = sentences(
            trail, datetime(2026, 10, 18, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)
        )
    assert found == (
        "The busiest hour, from Tue 20 Oct 2026 13:00 +02:00, had 281 events, 12 times as many as the usual hour with events.",
        "Failures rose to 145 of 2,463 events on Tuesday 20 October 2026, 3.4 times as many as on the usual day (43).",
        (
            "From 203.0.113.77, 95 of 103 events failed, in the name of 36 actors, on Tue 20 Oct 2026 from 22:41 to 23:28 "
            "+02:00."
        ),
        (
            "customer.export happened 27 times in the hour from Thu 22 Oct 2026 22:00 +02:00, all by hedda.ekman, and at "
            "most 6 in any hour that is not next to it."
        ),
        (
            "backup.delete happened 21 times in the hour from Sun 25 Oct 2026 02:00 +01:00, all by svc-backup, and not "
            "once in any hour that is not next to it."
        ),
        (
            "First use of directory.read, role.grant and token.create by oskar.lilja, beginning on Tue 20 Oct 2026 23:34 "
            "+02:00, from 203.0.113.77, which had not been seen a day before."
        ),
        "First use of vpn.disconnect by hedda.ekman, on Thu 22 Oct 2026 23:02 +02:00.",
        "First use of account.disable by ebba.nyman, on Fri 23 Oct 2026 16:00 +02:00.",
        (
            "First use of auth.token, backup.policy.update, backup.delete and audit.retention.update by svc-backup, beginning "
            "on Sun 25 Oct 2026 02:07 +01:00, from 203.0.113.78, which had not been seen a day before."
        ),
    )


def test_nothing_is_said_of_nothing(trail: Trail) -> None:
    """An empty trail has no summary, and one event is no pattern."""
    assert sentences(trail) == ()
    trail.append(action="a", actor="ann", outcome="failure").wait()
    assert sentences(trail) == ()
    assert sentences(trail, silent=("app", "web")) == (
        "No event came from app and web, known from before the window.",
    )


def steady(**event: Any) -> list[dict[str, Any]]:
    """Return one event per hour of five days."""
    return [{"hour": hour, "actor": "ann", "outcome": "success", **event} for hour in range(120)]


def test_the_window_is_compared_with_the_one_before(make_trail: Make) -> None:
    """A window that follows one of equal length, kept whole, says what grew; else nothing is compared."""
    events = [*steady(), *[{"hour": 80, "outcome": "failure"}] * 48]
    trail = filled(make_trail, events)
    third, fourth = MONDAY + timedelta(days=3), MONDAY + timedelta(days=4)
    assert sentences(trail, third, fourth)[0] == (
        "The window of equal length before had 24 events, this one has 3.0 times as many; failures went from 0 to 48."
    )
    assert "this one has 67 % fewer; failures went from 48 to 0" in sentences(trail, fourth, fourth + DAY)[0]
    assert "this one has as many" in sentences(trail, third - DAY, third)[0]
    assert not [text for text in sentences(trail, MONDAY, third) if "equal length" in text]
    assert not [text for text in sentences(trail) if "equal length" in text]


def test_a_steady_trail_has_no_summary(make_trail: Make) -> None:
    """Where nothing stands out nothing is said; an hour with twice the median is named as the busiest."""
    trail = filled(make_trail, steady())
    assert sentences(trail) == ()
    trail.append(action="read", ts=MONDAY + timedelta(hours=30)).wait()
    assert [text.split(",")[0] for text in sentences(trail)] == ["The busiest hour"]


def test_failures_are_known_by_any_word(make_trail: Make) -> None:
    """An origin whose logins ended in words of several producers stands out as one with `failure` would."""
    words = ["AccessDenied", "FAILURE", "DENY", "403", "permission_denied"]
    events = steady() + [
        {"hour": 30, "actor": f"user{n % 10}", "origin": "192.0.2.7", "outcome": words[n % 5]}
        for n in range(10)
    ]
    trail = filled(make_trail, events)
    assert "From 192.0.2.7, 10 of 10 events failed, in the name of 10 actors" in "".join(sentences(trail))
    assert not [text for text in sentences(trail, failures=("DENY",)) if "failed" in text]


@pytest.mark.parametrize(("failures", "named"), [(19, False), (20, True)])
def test_a_day_of_failures_needs_twenty(make_trail: Make, failures: int, named: bool) -> None:
    """A day with three times the usual failures is named from twenty of them on."""
    events = steady() + [{"hour": 49, "outcome": "failure", "actor": "bo"}] * failures
    found = [text for text in sentences(filled(make_trail, events)) if text.startswith("Failures rose")]
    assert found == (
        ["Failures rose to 20 of 44 events on Wednesday 18 November 2026, where most days had none."]
        if named
        else []
    )


def test_failures_are_compared_with_at_least_three_other_days(make_trail: Make) -> None:
    """Two days are not enough to call a third one unusual."""
    events = [event for event in steady() if event["hour"] < 72]
    trail = filled(make_trail, events + [{"hour": 49, "outcome": "failure"}] * 40)
    assert not [text for text in sentences(trail) if text.startswith("Failures rose")]


@pytest.mark.parametrize(("actors", "successes", "named"), [(10, 9, True), (10, 10, False), (4, 0, False)])
def test_an_origin_that_failed_for_many(make_trail: Make, actors: int, successes: int, named: bool) -> None:
    """An address is named if most of its events failed, for at least five actors; not if one actor mistypes."""
    events = steady() + [
        {"hour": 30, "actor": f"user{n % actors}", "origin": "192.0.2.7", "outcome": "failure"}
        for n in range(10)
    ]
    events += [{"hour": 31, "actor": "ann", "origin": "192.0.2.7", "outcome": "success"}] * successes
    found = [text for text in sentences(filled(make_trail, events)) if text.startswith("From")]
    assert bool(found) == named
    if named:
        assert found[0].startswith(
            "From 192.0.2.7, 10 of 19 events failed, in the name of 10 actors, on Tue 17 Nov"
        )


@pytest.mark.parametrize(
    ("usual", "burst", "named"), [(3, 11, False), (3, 12, True), (0, 9, False), (0, 10, True)]
)
def test_a_burst_is_four_times_every_other_hour(
    make_trail: Make, usual: int, burst: int, named: bool
) -> None:
    """An hour is named with ten events and four times what any hour but its neighbours has."""
    events = steady() + [{"hour": 10, "action": "export", "actor": "bo"}] * usual
    events += [{"hour": 60, "action": "export", "actor": "bo"}] * burst
    events += [{"hour": 61, "action": "export", "actor": "bo"}] * (burst - 1)
    found = [text for text in sentences(filled(make_trail, events)) if text.startswith("export happened")]
    assert bool(found) == named
    if named:
        assert "all by bo" in found[0]


def test_a_burst_is_of_the_window(make_trail: Make) -> None:
    """Where the window begins within the hour, who did it is told by what the window holds."""
    events = [*steady(), *[{"hour": 60.2, "action": "export", "actor": "cy"}] * 30]
    events += [{"hour": 60.8, "action": "export", "actor": "bo"}] * 12
    found = sentences(filled(make_trail, events), MONDAY + timedelta(hours=60.5))
    assert "export happened 12 times in the hour from Wed 18 Nov 2026 12:00 UTC, all by bo" in "".join(found)


def test_a_first_use_needs_a_day_of_history(make_trail: Make) -> None:
    """On the first day everything is new; later, what nobody did before is named, once, by who did it first."""
    events = [*steady(), {"hour": 23, "action": "early"}, {"hour": 25, "action": "grant", "actor": "bo"}]
    events += [{"hour": 26, "action": "grant", "actor": "cy"}]
    trail = filled(make_trail, events)
    found = [text for text in sentences(trail) if text.startswith("First use")]
    assert found == ["First use of grant by bo, on Tue 17 Nov 2026 01:00 UTC."]
    later = sentences(trail, MONDAY + timedelta(hours=26))
    assert not [text for text in later if text.startswith("First use")]


def test_a_filter_makes_nobody_the_first(make_trail: Make) -> None:
    """Who is shown by a filter is called the first only if nobody else was, shown or not."""
    events = [
        *steady(),
        {"hour": 40, "action": "grant", "actor": "bo"},
        {"hour": 41, "action": "grant", "actor": "cy"},
    ]
    trail = filled(make_trail, events)
    assert not [text for text in sentences(trail, where={"actor": "cy"}) if "First use" in text]
    assert [text for text in sentences(trail, where={"actor": "bo"}) if "First use" in text]


def test_what_goes_beyond_the_bound_is_counted(make_trail: Make) -> None:
    """A rule that finds much names five, and says how many more there are."""
    events = steady() + [{"hour": 40 + n, "action": f"new{n}", "actor": f"user{n}"} for n in range(7)]
    found = [
        text for text in sentences(filled(make_trail, events)) if "First use" in text or "same is so" in text
    ]
    assert len(found) == 6
    assert found[-1] == "The same is so of 2 other actors."


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_from_events_are_visible_text(make_trail: Make, payload: str) -> None:
    """A hostile action, actor or origin is one line of visible characters, cut where it is long."""
    long = payload + "x" * 100
    events = (
        steady() + [{"hour": 40, "action": long, "actor": long, "origin": long, "outcome": "failure"}] * 12
    )
    found = sentences(filled(make_trail, events))
    assert any("First use" in text for text in found)
    assert not {"\n", "\x1b", "\u202e", "\u200b", "\ufeff"} & {*"".join(found)}
    assert max(map(len, found)) < 400


def test_hours_are_those_of_the_zone(make_trail: Make) -> None:
    """Moments are given in the trail's zone with their offset."""
    events = [*steady(), {"hour": 40, "action": "grant", "actor": None}]
    found = sentences(filled(make_trail, events, tz="Asia/Kathmandu"))
    assert "First use of grant by an actor who is not named, on Tue 17 Nov 2026 21:45 +05:45." in found
