"""What occurs in a trail: values of a key, paths of attrs."""

import pytest

from auditkit.api import Trail
from auditkit.ask import occurring

ALL = {"start": None, "end": None, "own": False, "tz": None}


@pytest.fixture
def trail(trail: Trail) -> Trail:
    """Return a trail of a few events, one of them flushed."""
    trail.append(action="a", actor="ann", attrs={"n": 7, "user": {"name": "ann"}}).wait()
    trail.flush()
    trail.append(action="b", actor="bob", attrs={"n": "7"})
    trail.append(action="b").wait()
    return trail


def test_values_by_how_often_they_occur(trail: Trail) -> None:
    """Texts of columns and of attrs with their counts, numbers as JSON writes them; a column of another kind has none."""
    found = occurring.occurring(trail.view, "action", ALL)
    assert found is not None
    assert found.rows() == [("b", True, 2), ("a", True, 1)]
    found = occurring.occurring(trail.view, "attrs.n", ALL)
    assert found is not None
    assert sorted(found.rows()) == [("7", False, 1), ("7", True, 1)]
    assert occurring.occurring(trail.view, "value", ALL) is None
    assert occurring.occurring(trail.view, "attrs", ALL) is None


def test_the_latest_are_enough_where_asked(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `whole`, dictionaries are counted in the latest events as well."""
    monkeypatch.setattr(occurring, "LATEST", 2)
    for whole, expected in ((False, ["bob"]), (True, ["ann", "bob"])):
        found = occurring.occurring(trail.view, "actor", ALL, whole=whole)
        assert found is not None
        assert found["text"].to_list() == expected


def test_paths(trail: Trail) -> None:
    """Every path that leads into attrs, also to what is nested."""
    assert occurring.occurring_paths(trail.view, ALL) == ["n", "user", "user.name"]


def test_paths_of_rare_kinds_of_events(trail: Trail) -> None:
    """A path that one of thousands of events has is offered as well."""
    trail.append(action="rare", attrs={"approved_by": "eve"}).wait()
    trail.extend([{"action": "a", "attrs": {"n": n}} for n in range(5_000)]).wait()
    assert "approved_by" in occurring.occurring_paths(trail.view, ALL)
