"""The commands consumers list and consumers forget."""

from pathlib import Path

import pytest

from auditkit.cli.consumers import consumers
from auditkit.opening import open_trail
from tests.cli.conftest import Run, rows


def follow(place: Path, name: str, count: int) -> list[int]:
    """Acknowledge so many events under a name, and return their seqs."""
    seqs: list[int] = []
    with open_trail(place, maintain=False) as trail, trail.follow(name, timeout_s=0) as follower:
        for delivery in follower:
            with delivery:
                seqs.append(delivery.seq)
            if len(seqs) == count:
                break
    return seqs


def test_list_tells_how_far_each_has_come(filled: Run, place: Path) -> None:
    """Each consumer is listed with its position and what lies behind it; without any there is a remark."""
    assert "no consumers" in filled("consumers", "list").stderr
    assert "no consumers" in filled("consumers").stderr
    follow(place, "mailer", 2)
    follow(place, "search", 5)
    listed = rows(filled("consumers", "list", "--json"))
    assert [(row["name"], row["position"], row["lag"], row["missed"], row["given_up"]) for row in listed] == [
        ("mailer", 2, 4, 0, 0),
        ("search", 5, 1, 0, 0),
    ]
    table = filled("consumers", "list").stdout
    assert "mailer" in table
    assert filled("consumers", "list", "--csv").stdout.splitlines()[2].startswith("search,5,1,0,0,")


def test_forgotten_consumers_begin_anew(filled: Run, place: Path) -> None:
    """Who is forgotten is not listed, and is given everything again when it comes back; others stay as they are."""
    assert follow(place, "mailer", 3) == [0, 1, 2]
    follow(place, "search", 5)
    assert filled("consumers", "forget", "mailer").stdout == "Forgot consumer mailer, which was at seq 3.\n"
    assert [row["name"] for row in rows(filled("consumers", "list", "--json"))] == ["search"]
    assert follow(place, "mailer", 4) == [0, 1, 2, 3]
    assert follow(place, "mailer", 99) == [4, 5]
    assert follow(place, "search", 99) == [5]


def test_only_those_who_are_there_and_away_are_forgotten(filled: Run, place: Path) -> None:
    """A name that no consumer has is refused with the names there are, a bad one as such, and one that is in use stays."""
    follow(place, "mailer", 1)
    assert "there are: mailer" in filled("consumers", "forget", "mialer", code=2).stderr
    assert "bad name" in filled("consumers", "forget", "../x", code=2).stderr
    assert sorted(path.name for path in (place / "consumers").iterdir()) == ["mailer.jsonl"]
    with open_trail(place) as trail, trail.follow("mailer", timeout_s=0):
        assert "followed already" in filled("consumers", "forget", "mailer", code=1).stderr
    assert follow(place, "mailer", 1) == [1]


@pytest.mark.parametrize("name", sorted(consumers.commands))
def test_each_command_has_help_with_examples(run: Run, name: str) -> None:
    """Both commands say what they do and show calls of themselves."""
    shown = run("consumers", name, "--help").stdout
    assert shown.startswith(f"Usage: auditkit consumers {name}")
    assert f"  auditkit consumers {name}" in shown.partition("\nExamples:\n")[2]
