"""An empty answer doubts the question: what was near it is said, and what was meant is not doubted."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import auditkit as ak
from auditkit.ask import occurring
from auditkit.ask.near import doubts
from auditkit.errors import EmptyAnswerWarning

DAY = "2026-01-01T00:00:00Z"
ROLE = {
    "ts": DAY,
    "action": "AssumeRole",
    "actor": "ann",
    "outcome": "failure",
    "resource": "doc/7",
    "status": 404,
    "userIdentity": {"userName": "x"},
    "http.method": "GET",
}
LOGIN = {
    "ts": "2026-01-02T00:00:00Z",
    "action": "login",
    "actor": "Bob Smith",
    "outcome": "success",
    "status": "500",
}


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ak.Trail]:
    """Three events of one kind, two of another."""
    with ak.create(tmp_path_factory.mktemp("near") / "audit") as made:
        made.extend([ROLE] * 3 + [LOGIN] * 2).wait()
        yield made


def doubted(
    trail: ak.Trail, where: Any, start: str | None = None, end: str | None = None
) -> list[tuple[str, bool]]:
    """Return the doubts of a question, and whether each is likely."""
    found = doubts(trail.view, start, end, where=where, own=False, tz=None)
    return [(doubt.text, doubt.likely) for doubt in found]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({"actor": "Ann"}, 'actor is "Ann" in no event here; near it: "ann" (3)'),
        ({"actor": "bob*"}, 'actor is like "bob*" in no event here; near it: "Bob Smith" (2)'),
        ({"actor": " ann"}, 'actor is " ann" in no event here; near it: "ann" (3)'),
        ({"action": "assume_role"}, 'action is "assume_role" in no event here; near it: "AssumeRole" (3)'),
        ({"outcome": ["failed"]}, 'outcome is "failed" in no event here; near it: "failure" (3)'),
        ({"outcome": "denied"}, 'outcome is "denied" in no event here; there are "failure" (3), "success" (2)'),
        ({"resource": "DOC/7"}, 'resource is "DOC/7" in no event here; near it: "doc/7" (3)'),
        ({"attrs.status": "404"}, 'attrs.status is "404" in no event here; near it: 404 (3)'),
        ({"attrs.http.method": "get"}, 'attrs.http.method is "get" in no event here; near it: "GET" (3)'),
        ({"attrs.statsu": 4}, "attrs.statsu is 4 in no event here: none has attrs.statsu; did you mean 'attrs.status'?"),
        (
            {"attrs.useridentity.username": "x"},
            'attrs.useridentity.username is "x" in no event here: none has attrs.useridentity.username; did you mean \'attrs.userIdentity.userName\'?',
        ),
        ('{"actor": "Ann"}', 'actor is "Ann" in no event here; near it: "ann" (3)'),
    ],
)  # fmt: skip
def test_what_was_near_is_said(trail: ak.Trail, where: Any, text: str) -> None:
    """Another case, digits of another kind, words and keys misspelt are likely to be meant, and warned of."""
    assert doubted(trail, where) == [(text, True)]
    asks: list[Callable[[], pl.DataFrame]] = [
        lambda: trail.range(where=where),
        lambda: trail.group_by("actor", where=where),
        lambda: trail.downsample("1h", where=where),
    ]
    for ask in asks:
        with pytest.warns(EmptyAnswerWarning) as caught:
            assert ask().is_empty()
        assert [str(warning.message) for warning in caught] == [text]
        assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("where", "window", "texts"),
    [
        ({"attrs.status": [403, "x"]}, (), ['attrs.status is 403 or "x" in no event here; there are 404 (3), "500" (2)']),
        ({"attrs.tenant": 1}, (), ["attrs.tenant is 1 in no event here: none has attrs.tenant; there are status, userIdentity"]),
        ({"outcome": "success"}, (DAY, "+1h"), ['outcome is "success" in no event here; there are "failure" (3)']),
        ({"actor": "ann", "outcome": "success"}, (), ["each condition holds for some event here, all of them together for none"]),
        ({"actor": None}, (), ['actor is missing in no event here; there are "ann" (3), "Bob Smith" (2)']),
        ({"id": "x"}, (), ['id is "x" in no event here: it is always missing']),
        ({"value": 5}, (), ["value is 5 in no event here"]),
        ({"resource": "doc/9000"}, (), ['resource is "doc/9000" in no event here; there are "doc/7" (3)']),
        ({"actor": {"not": ["ann", "Bob*"]}}, (), ['no event here is left where actor is neither "ann" nor like "Bob*"; there are "ann" (3), "Bob Smith" (2)']),
        ({"attrs.tenant": {"not": None}}, (), ["no event here is left where attrs.tenant is not missing"]),
        ({"text": "invoice 17"}, (), ['text has the words "invoice 17" in no event here']),
        ({"actor": "ann"}, ("2026-02-01",), ["no event lies in this window; the trail's are from 2026-01-01 00:00:00+00:00 to 2026-01-02 00:00:00+00:00"]),
        ({}, ("2026-02-01",), ["no event lies in this window; the trail's are from 2026-01-01 00:00:00+00:00 to 2026-01-02 00:00:00+00:00"]),
    ],
)  # fmt: skip
def test_what_may_well_be_meant_warns_nobody(
    trail: ak.Trail, where: dict[str, Any], window: tuple[str, ...], texts: list[str]
) -> None:
    """What the trail knows elsewhere, and what only some events have, is a good question: its answer is empty."""
    assert doubted(trail, where, *window) == [(text, False) for text in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trail.range(*window, where=where).is_empty()


def test_nothing_is_doubted_where_there_is_an_answer(trail: ak.Trail) -> None:
    """An answer with events, a limit of none and an expression are taken as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trail.range(where={"actor": "ann"}).height == 3
        assert trail.range(where={"actor": "Ann"}, limit=0).is_empty()
        assert trail.range(where=pl.col("actor") == "Ann").is_empty()
        assert (
            trail.downsample("1d", where={"actor": "Ann"}, fill=0, start="2026-01-01", end="+2d").height == 2
        )


def test_a_trail_without_events_says_so(tmp_path: Path) -> None:
    """Before the first event there is nothing to doubt."""
    with ak.create(tmp_path / "audit") as trail:
        assert doubted(trail, {"actor": "ann"}) == [("the trail shows no events at all", False)]


def test_hostile_values_are_visible(tmp_path: Path) -> None:
    """What events hold is shown, never acted upon, and shortened."""
    with ak.create(tmp_path / "audit") as trail:
        trail.append(action="a\x1b[31m" + "x" * 1000, attrs='{"k\\u001b[2J":1}').wait()
        ((text, likely),) = doubted(trail, {"action": "b"})
        assert likely
        assert "\x1b" not in text
        assert len(text) < 200
        ((text, _),) = doubted(trail, {"attrs.nothing": 1})
        assert "\x1b" not in text


def test_what_is_looked_at_is_bounded(trail: ak.Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is no dictionary only the latest events are looked at."""
    monkeypatch.setattr(occurring, "LATEST", 2)
    assert doubted(trail, {"attrs.status": "404"}) == [
        ('attrs.status is "404" in no event here; there are "500" (2)', False)
    ]
