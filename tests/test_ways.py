"""One question put in every way there is: as a mapping, JSON text, options, parameters, an expression, to a reader."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

import auditkit as ak
from auditkit import query
from auditkit.cli.main import cli
from auditkit.reporting import cover
from auditkit.where import parse_path, parse_where_option, read_value

pytestmark = pytest.mark.filterwarnings("ignore::auditkit.errors.EmptyAnswerWarning")

EVENTS: list[dict[str, Any]] = [
    {"actor": "12345", "status": 404, "version": "1.10", "flag": True, "id_": 112345678901234567890},
    {"actor": "ann", "status": "404", "version": "1.1", "flag": "true", "id_": "112345678901234567890"},
    {"actor": "1234e56", "status": 404.0, "version": 1.1, "flag": False, "id_": 1099511627776000001},
    {"actor": "007", "status": "0404", "version": "1.10.0", "flag": None, "id_": "1099511627776000001"},
    {"actor": "true", "status": 4040, "version": 2, "flag": "yes", "id_": 1099511627776000002},
    {"actor": None, "status": None, "http.response.status_code": 500, "labels": {"app.kubernetes.io/name": "web"}},
    {"actor": "*", "http": {"response": {"status_code": "500"}}, "labels": {"app": {"kubernetes": {"io/name": "web"}}}},
    {"actor": "12.5", "amount": 12.5, "http": {"response.status_code": 500}, "items": [{"sku": "a.b"}]},
    {"actor": "-3", "amount": "12.50", "status": -3, "http": {"response.status_code": "5e2"}},
]  # fmt: skip
ASKED: list[tuple[str, list[int]]] = [
    ("actor=12345", [0]),
    ('actor="12345"', [0]),
    ("actor=1234e56", [2]),
    ("actor=007", [3]),
    ("actor=7", []),
    ("actor=true", [4]),
    ("actor=12.5", [7]),
    ("actor=-3", [8]),
    ("actor=null", [5]),
    (r"actor=\*", [6]),
    ('actor=["12345", 7, null]', [0, 5]),
    ("actor=[12345, 12.5]", [0, 7]),
    ("attrs.status=404", [0, 1, 2]),
    ('attrs.status="404"', [1]),
    ("attrs.status=0404", [3]),
    ("attrs.status=[404, 4040]", [0, 1, 2, 4]),
    ("attrs.status=-3", [8]),
    ("attrs.status=4*", [1]),
    ("attrs.version=1.1", [1, 2]),
    ("attrs.version=1.10", [0, 2]),
    ("attrs.version=2", [4]),
    ("attrs.flag=true", [0, 1]),
    ('attrs.flag="true"', [1]),
    ("attrs.flag=false", [2]),
    ("attrs.flag=yes", [4]),
    ("attrs.id_=112345678901234567890", [0, 1]),
    ("attrs.id_=1099511627776000001", [2, 3]),
    ('attrs.id_="1099511627776000001"', [3]),
    ("attrs.amount=12.5", [7]),
    ("attrs.amount=12.50", [7, 8]),
    ("attrs.http.response.status_code=500", [5, 6, 7]),
    ('attrs.http.response.status_code="500"', [6]),
    (r"attrs.http\.response\.status_code=500", [5]),
    ("attrs.labels.app.kubernetes.io/name=web", [5, 6]),
    ("attrs.items.0.sku=a.b", [7]),
    ("attrs.items.1.sku=null", list(range(9))),
    ("actor!=ann", [0, 2, 3, 4, 5, 6, 7, 8]),
    ("actor!=12345", [1, 2, 3, 4, 5, 6, 7, 8]),
    ('actor!=["1*", "ann", null]', [3, 4, 6, 8]),
    (r"actor!=\*", [0, 1, 2, 3, 4, 5, 7, 8]),
    ("actor!=null", [0, 1, 2, 3, 4, 6, 7, 8]),
    ("action!=*", []),
    ("attrs.status!=404", [3, 4, 5, 6, 7, 8]),
    ('attrs.status!=["404", null]', [0, 2, 3, 4, 8]),
    ("resource!=x", list(range(9))),
    ("text=kubernetes WEB", [5, 6]),
    ("text=404", [0, 1, 2, 3, 4]),
    ("text=nothing", []),
    ("text!=status", []),
    ("text!=labels", [0, 1, 2, 3, 4, 7, 8]),
    ('text=["1.10", "items"]', [0, 3, 7]),
]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ak.Trail]:
    """The events, two thirds of them in segments."""
    with ak.create(tmp_path_factory.mktemp("ways") / "audit", maintain=False) as made:
        made.extend([{"action": "a", **event} for event in EVENTS[:6]]).wait()
        made.flush()
        made.extend([{"action": "a", **event} for event in EVENTS[6:]]).wait()
        yield made


@pytest.mark.parametrize(("option", "expected"), ASKED)
def test_every_way_to_ask_finds_the_same_events(trail: ak.Trail, option: str, expected: list[int]) -> None:
    """Methods, functions, followers, reports and the command line read a key and a value alike."""
    key, value = parse_where_option(option)
    listed = {"not": [value["not"]]} if isinstance(value, dict) else [value]
    for where in ({key: value}, json.dumps({key: value}), {key: listed if value is None else value}):
        assert trail.range(where=where, columns="seq")["seq"].to_list() == expected
    where = {key: value}
    assert trail.scan(where=where).select("seq").collect()["seq"].sort().to_list() == expected
    assert trail.group_by("seq", where=where, aggs="count")["seq"].to_list() == expected
    assert trail.downsample("1y", where=where, aggs="count")["count"].sum() == len(expected)
    assert query.range(trail.scan(), where=where)["seq"].to_list() == expected
    assert query.range(trail.scan().collect(), where=where)["seq"].to_list() == expected
    followed = trail.follow(where=where, timeout_s=0)
    assert [delivery.event["seq"] for delivery in followed] == expected
    assert cover(trail, where=json.dumps(where), title="T").model.counts.shown == len(
        expected
    )  # papermill -p
    given = shlex.split(f"range --where {shlex.quote(option)} --columns seq --csv")
    shown = CliRunner().invoke(cli, given, env={"AUDITKIT_TRAIL": str(trail.path)})
    assert shown.stdout.split() == ["seq", *map(str, expected)]


@pytest.mark.parametrize(
    "path", sorted({parse_where_option(option)[0] for option, _ in ASKED if "attrs." in option})
)
def test_every_way_to_name_a_value_finds_the_same(trail: ak.Trail, path: str) -> None:
    """Keys, columns, expressions, SQL's counterpart and the path of an import lead to one value."""
    inside = path.removeprefix("attrs.")
    found = trail.range(columns=["seq", path])
    values = found[path].to_list()
    assert trail.scan().sort("seq").select(ak.attr(inside)).collect().to_series().to_list() == values
    counts = trail.group_by(path, aggs="count")
    assert dict(counts.iter_rows()) == {value: values.count(value) for value in set(values)}
    assert dict(query.group_by(trail.scan(), path, aggs="count").iter_rows()) == dict(counts.iter_rows())
    assert trail.downsample("1y", by=path, aggs="count")[path].to_list() == counts[path].to_list()
    records = [{**event} for event in EVENTS]
    for record, value in zip(records, values, strict=True):
        imported = parse_path(inside).find({name: one for name, one in record.items() if name != "actor"})
        assert (imported is None) == (value is None)
        if isinstance(imported, str):
            assert imported == value
    given = ["range", "--columns", f"seq,{path}", "--csv"]
    shown = CliRunner().invoke(cli, given, env={"AUDITKIT_TRAIL": str(trail.path)})
    assert len(shown.stdout.splitlines()) == len(EVENTS) + 1


def test_parameters_are_read_as_conditions_are(trail: ak.Trail) -> None:
    """A report's --param means what --where means, and what papermill makes a number is a name all the same."""
    for text in ("12345", '"12345"'):
        assert trail.range(where={"actor": read_value(text)})["seq"].to_list() == [0]
    assert trail.range(where={"actor": [12345]})["seq"].to_list() == [0]
    notebook = json.loads((Path(__file__).parents[1] / "notebooks" / "actor.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for actor, where in ((12345, None), ("12345", '{"action": "a"}'), (12345, {"action": "a"})):
        names: dict[str, Any] = {}
        exec(cells[0], names)  # noqa: S102 -- our own notebook's parameters, and the cell that reads them
        names.update(trail=str(trail.path), actor=actor, where=where)
        exec(cells[1], names)  # noqa: S102
        assert names["page"].model.counts.shown == 1
        assert names["page"].where["actor"] == [actor]


def test_sql_says_how_a_number_is_compared_with_text(trail: ak.Trail) -> None:
    """DuckDB makes numbers of text where one is asked for; the error says how text is meant."""
    asked = "SELECT seq FROM events WHERE actor = $who"
    assert trail.sql(asked, params={"who": "12345"})["seq"].to_list() == [0]
    with pytest.raises(ak.errors.InvalidQueryError) as caught:
        trail.sql(asked, params={"who": 12345})
    assert "params={'who': '12345'}" in " ".join(caught.value.__notes__)
    compared = trail.sql("SELECT seq FROM events WHERE attrs->>'$.status' = $s", params={"s": 404})
    assert compared["seq"].to_list() == [0, 1, 2, 3]  # as numbers, so that "0404" is one of them


@pytest.mark.parametrize("word", ["KUBERNETES", "404", "1.1", "Nothing"])
def test_sql_looks_for_a_word_with_a_regular_expression(trail: ak.Trail, word: str) -> None:
    """`regexp_matches(…, 'i')` ignores case as the search for words does; a word's own signs are escaped."""
    asked = "SELECT seq FROM events WHERE regexp_matches(attrs, regexp_escape($word), 'i') ORDER BY seq"
    assert (
        trail.sql(asked, params={"word": word})["seq"].to_list()
        == trail.range(where={"text": word}, columns="seq")["seq"].to_list()
    )


def test_typed_values_are_compared_as_columns_are(trail: ak.Trail) -> None:
    """An expression over a value of a stated kind counts numbers and their spellings alike."""
    typed = trail.scan().filter(ak.attr("status", dtype=pl.Int64) == 404).select("seq").collect()
    assert typed["seq"].sort().to_list() == [0, 1, 2, 3]  # "0404" is the number 404, if one is asked for


def test_an_import_takes_what_a_question_finds(tmp_path: Path) -> None:
    """What `--map field=path` puts into a field is what `attrs.path` shows of the same record."""
    fields = ["actor", "resource", "outcome", "origin", "correlation", "source"]
    paths = [
        "status",
        "version",
        "http.response.status_code",
        r"http\.response\.status_code",
        "labels.app.kubernetes.io/name",
        "items.0.sku",
    ]
    lines = [
        json.dumps({"ts": f"2026-01-01T00:00:0{n}Z", "action": "a", **event})
        for n, event in enumerate(EVENTS)
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    with ak.create(tmp_path / "audit") as trail:
        maps = [
            word for field, path in zip(fields, paths, strict=True) for word in ("--map", f"{field}={path}")
        ]
        given = ["import", str(tmp_path / "events.jsonl"), *maps]
        done = CliRunner().invoke(cli, given, env={"AUDITKIT_TRAIL": str(trail.path)})
        assert done.exit_code == 0, done.output
        found = trail.range(columns=[*fields, *(f"attrs.{path}" for path in paths)])
        assert found.height == len(EVENTS)
        for field, path in zip(fields, paths, strict=True):
            assert found[field].to_list() == found[f"attrs.{path}"].to_list(), path
