"""Records out of lines of text: parts by name, what is derived from them, years that lines leave out."""

import io
import json

import pytest

from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.line_records import Derived, LineFormat, line_records
from auditkit.sources.records import Item, Record, Unreadable

DAEMON = LineFormat(
    patterns=(
        r"(?P<stamp>[A-Z][a-z]{2} +\d{1,2} [\d:.]{8,}) (?P<program>\w+): (?P<message>.*)",
        r"(?P<time>\d{4}-\S+) (?P<program>\w+)(?:\[(?P<pid>\d+)\])?: (?P<message>.*)",
    ),
    derived=(
        Derived(name="user", part="message", pattern=r"user=(\w+)"),
        Derived(name="user", part="message", pattern=r"for (\w+)"),
        Derived(name="result", part="message", pattern=r"(?i)fail", word="failure"),
        Derived(name="result", part="message", pattern=r"(?i)accept", word="success"),
    ),
)


def read(text: str | bytes, year: int | None = None) -> list[Item]:
    """All items of lines such as a daemon writes."""
    content = text.encode() if isinstance(text, str) else text
    return list(line_records(io.BytesIO(content), DAEMON, year=year))


def fields(text: str, year: int | None = None) -> list[dict[str, object]]:
    """The fields of lines that are all records."""
    items = read(text, year)
    assert not [item for item in items if isinstance(item, Unreadable)]
    return [dict(item.fields) for item in items if isinstance(item, Record)]


def test_parts_are_named_and_the_text_holds_what_the_line_says() -> None:
    """Named groups are fields, groups that took no part are not; derived fields are not in the text."""
    [record] = read("2026-11-24T07:00:00Z sshd: Accepted key for ann\r\n")
    assert isinstance(record, Record)
    parts = {"time": "2026-11-24T07:00:00Z", "program": "sshd", "message": "Accepted key for ann"}
    assert json.loads(record.text) == parts
    assert record.fields == parts | {"user": "ann", "result": "success"}


def test_the_first_derivation_of_a_name_that_finds_something_counts() -> None:
    """Where two patterns find a user, the one named first says who it was, wherever it stands."""
    [found] = fields("2026-11-24T07:00:00Z pam: failed for bob, not accepted; user=ann")
    assert (found["user"], found["result"]) == ("ann", "failure")


def test_a_line_that_fits_no_pattern_is_reported_in_its_place() -> None:
    """It is a dead letter with number and content; reading goes on, and empty lines only count."""
    before, bad, after = read(
        "2026-11-24T07:00:00Z a: x\n\nsomething else\n2026-11-24T07:00:01Z a: y", year=None
    )
    assert [item.line for item in (before, bad, after)] == [1, 3, 4]
    assert bad == Unreadable(
        3, "not a line of this format", "something else", before.end + len("\nsomething else\n")
    )


def test_a_time_without_a_year_is_read_in_the_stated_one() -> None:
    """The field `time` is the whole moment, the text keeps what stood there."""
    [record] = read("Feb 29 07:00:00 sshd: x", year=2024)
    assert isinstance(record, Record)
    assert record.fields["time"] == "2024-02-29T07:00:00"
    assert json.loads(record.text)["stamp"] == "Feb 29 07:00:00"


def test_without_a_stated_year_such_a_line_is_no_record() -> None:
    """No year is made up: not the clock's, not 1900."""
    [bad] = read("Nov 24 07:00:00 sshd: x")
    assert isinstance(bad, Unreadable)
    assert bad.reason == "its time names no year; state that of the first line (--year)"


@pytest.mark.parametrize(
    ("stamps", "years"),
    [
        (["Dec 31 23:59:59", "Jan  1 00:00:00", "Mar  1 00:00:00"], [2023, 2024, 2024]),
        (["Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:58", "Jan  1 00:00:01"], [2023, 2024, 2023, 2024]),
        (["Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:00"], [2023, 2022, 2023]),
        (["Mar 27 00:00:00", "Apr 20 00:00:00", "Apr 19 00:00:00"], [2023, 2023, 2023]),
        (["Jul 15 00:00:00", "Jan 15 00:00:00"], [2023, 2023]),
    ],
)  # fmt: skip
def test_the_year_goes_on_at_its_turn(stamps: list[str], years: list[int]) -> None:
    """Lines less than half a year apart, also out of order around New Year, get the years they are of."""
    found = fields("\n".join(f"{stamp} cron: x" for stamp in stamps), year=2023)
    assert [int(str(record["time"])[:4]) for record in found] == years


def test_a_date_that_is_none_is_left_to_the_reader_of_times() -> None:
    """It is not moved to one that exists."""
    times = [record["time"] for record in fields("Feb 30 07:00:00 a: x\nFoo 30 07:00:00 a: x", year=2023)]
    assert times == ["2023-02-30T07:00:00", "Foo 30 07:00:00"]


def test_bytes_that_are_no_text_do_not_lose_the_line() -> None:
    """They are kept as escapes: who attacks a host may write anything into its log."""
    [record] = read(b"2026-11-24T07:00:00Z sshd: failed for \xff\xfe\n")
    assert isinstance(record, Record)
    assert record.fields["message"] == r"failed for \xff\xfe"
    assert record.fields["result"] == "failure"


def test_a_line_longer_than_an_event_is_cut_and_reported() -> None:
    """Only its beginning is kept, and reading goes on."""
    bad, after = read(b"x" * (3 * MAX_ATTRS_BYTES) + b"\n2026-11-24T07:00:00Z a: x")
    assert isinstance(bad, Unreadable)
    assert bad.reason.startswith("longer than an event may be")
    assert isinstance(after, Record)
