"""Importing times that others' tools were reported to read wrongly: each is stored as it is, counted, or refused."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run, rows

TWICE = "{} happened twice, when clocks went back: taken as the {} pass (--on-ambiguous)"
NEVER = "{} never existed, when clocks went forward: moved by as much"


@pytest.mark.parametrize(
    ("tz", "times", "options", "stored", "said"),
    [
        (  # a meter's readings of the night on which the clock goes back (SEED 4286)
            "America/Los_Angeles",
            ["2022-11-06 00:45:00", "2022-11-06 01:00:00", "2022-11-06 02:00:00"],
            [],
            ["2022-11-06T07:45:00Z", "2022-11-06T08:00:00Z", "2022-11-06T10:00:00Z"],
            [TWICE.format("1 local time", "first")],
        ),
        (
            "America/Los_Angeles",
            ["2022-11-06 00:45:00", "2022-11-06 01:00:00"],
            ["--on-ambiguous", "second"],
            ["2022-11-06T07:45:00Z", "2022-11-06T09:00:00Z"],
            [TWICE.format("1 local time", "second")],
        ),
        (  # and of the one on which it goes forward (SEED 4293)
            "America/Los_Angeles",
            ["2023-03-12 01:59:00", "2023-03-12 02:00:00"],
            [],
            ["2023-03-12T09:59:00Z", "2023-03-12T10:00:00Z"],
            [NEVER.format("1 local time")],
        ),
        (  # an hour that comes twice in half
            "Australia/Lord_Howe",
            ["2026-04-05 01:15", "2026-04-05 01:45"],
            [],
            ["2026-04-04T14:15:00Z", "2026-04-04T14:45:00Z"],
            [TWICE.format("1 local time", "first")],
        ),
        (  # a day that a country left out
            "Pacific/Apia",
            ["2011-12-29 23:00", "2011-12-30 12:00", "2011-12-31 12:00"],
            ["--on-ambiguous", "second"],
            ["2011-12-30T09:00:00Z", "2011-12-30T22:00:00Z", "2011-12-30T22:00:00Z"],
            [NEVER.format("1 local time")],
        ),
        (  # summer time that begins at midnight
            "America/Sao_Paulo",
            ["2018-11-03 23:59", "2018-11-04 00:30"],
            [],
            ["2018-11-04T02:59:00Z", "2018-11-04T03:30:00Z"],
            [NEVER.format("1 local time")],
        ),
    ],
)
def test_local_times_of_the_nights_on_which_clocks_change(
    started: Run,
    tmp_path: Path,
    tz: str,
    times: list[str],
    options: list[str],
    stored: list[str],
    said: list[str],
) -> None:
    """An import says how many local times came twice or never, and what it took them for."""
    file = tmp_path / "door.csv"
    file.write_text("ts,action\n" + "".join(f"{time},enter\n" for time in times))
    shown = started("import", str(file), "--tz", tz, *options).stdout
    for line in (TWICE.partition("{} ")[2].partition(",")[0], NEVER.partition("{} ")[2].partition(",")[0]):
        assert shown.count(line) == sum(line in one for one in said)
    for line in said:
        assert line in shown
    assert [row["ts"] for row in rows(started("range", "--json", "--columns", "ts"))] == stored


def test_ambiguous_times_may_be_refused(started: Run, tmp_path: Path) -> None:
    """With `raise` what came twice or never is a dead letter that says so, and the rest is in."""
    file = tmp_path / "door.csv"
    file.write_text("ts,action\n2024-10-27 02:10,twice\n2024-03-31 02:30,never\n2024-10-27 04:00,once\n")
    shown = started("import", str(file), "--tz", "Europe/Berlin", "--on-ambiguous", "raise").stdout
    assert "is shown twice in Europe/Berlin" in shown
    assert "is skipped by the clock in Europe/Berlin" in shown
    assert [row["action"] for row in rows(started("range", "--json", "--columns", "action"))] == ["once"]


@pytest.mark.parametrize(
    ("text", "options", "code", "reason"),
    [
        ("2020+12", [], 1, "is not ISO 8601"),  # Python, CPython 152204: January 2nd
        ("202012+9", [], 1, "is not ISO 8601"),
        ("2024-W40", ["--tz", "UTC"], 1, "is not ISO 8601"),  # September 30th
        ("1704067200", [], 1, "without a unit; in s since 1970 it would be 2024-01-01T00:00:00Z"),
        ("1704067200", ["--ts-format", "ms"], 1, "in the year 1970"),  # gravitee 869
        ("1704067200000", ["--ts-format", "s"], 1, "in ms since 1970 it would be 2024-01-01T00:00:00Z"),
        ("1.70407E+12", ["--ts-format", "ms"], 1, "is not a number of ms since 1970"),
        ("45292.5", ["--ts-format", "s"], 1, "in the year 1970"),
        (
            "2025 30 5",
            ["--tz", "UTC", "--ts-format", "%Y %W %w"],
            2,
            "%W is not read",
        ),  # CPython 137097: a week later
        ("Fri 12/31/24", ["--tz", "UTC", "--ts-format", "%a %m/%d/%y"], 1, "2024-12-31 is a Tuesday"),
        (
            "12/31/2024 12:30",
            ["--tz", "UTC", "--ts-format", "%m/%d/%Y %I:%M"],
            2,
            "%p and %I need each other",
        ),
        (
            "2024-01-01T00:00:00 CST",
            ["--ts-format", "%Y-%m-%dT%H:%M:%S %Z"],
            2,
            "names of zones are not read",
        ),
    ],
)
def test_what_would_be_guessed_is_refused(
    started: Run, tmp_path: Path, text: str, options: list[str], code: int, reason: str
) -> None:
    """What other readers take for a time that it is not is named with what would be read, and nothing is stored."""
    file = tmp_path / "log.csv"
    file.write_text(f"ts,action\n{text},a\n{text},b\n")
    refused = started("import", str(file), *options, code=code)
    assert reason in refused.output
    assert rows(started("range", "--json")) == []
