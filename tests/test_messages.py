"""Every message of an error: where it may come from, how it is written, and what users of each call can cause."""

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import auditkit as ak
from auditkit import errors, query
from auditkit.cli.main import cli
from auditkit.errors import AuditError

ROOT = Path(__file__).parents[1] / "auditkit"
OURS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, AuditError)
}
NAMED = {
    "InvalidArgumentError",
    "InvalidEventError",
    "InvalidQueryError",
    "InvalidTimeError",
    "LateEventError",
    "CorruptionError",
}
"""Errors whose subject is an argument of its own."""
PYTHONS = {
    "ValueError",
    "TypeError",
    "RuntimeError",
    "KeyError",
    "LookupError",
    "AttributeError",
    "OSError",
    "Exception",
}
INSIDE = {
    "arrow.py", "disk/durable.py", "event/attrs.py", "queue/decoding.py", "queue/frames.py", "sources/apt.py",
    "sources/json_records.py", "sources/python_events.py", "sources/xes_records.py", "store/bloom.py", "store/buffers.py",
    "store/files.py", "store/rollups.py", "store/tiers.py", "timerange/patterns.py", "timerange/reading.py",
    "where/values.py",
}  # fmt: skip
"""Modules that raise Python's own errors where they are caught again, and made one of ours with its place."""
AS_PYTHON_DOES = {
    "__init__.py": "a module without an attribute",
    "auditing.py": "a decorator put on what it cannot decorate",
    "context.py": "an unknown keyword",
    "display/tables.py": "a value of the wrong kind, in a notebook's own code",
}
NOW = datetime.now(UTC)


def texts_of(node: ast.expr) -> str | None:
    """Return a literal text with its computed parts as `0`, None for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in values)
    return None


def calls() -> Iterator[tuple[str, str, ast.Call, bool]]:
    """Yield each call in the package: the module, the function's name, the call, and whether it is raised at once."""
    for path in sorted(ROOT.rglob("*.py")):
        if "shim" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        raised = {node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                yield str(path.relative_to(ROOT)), name, node, node in raised


def test_what_callers_see_is_an_error_of_ours() -> None:
    """Python's own errors are raised only where they are caught again, and for misuse of Python itself."""
    modules = {module for module, name, _, is_raised in calls() if is_raised and name in PYTHONS}
    assert modules <= INSIDE | AS_PYTHON_DOES.keys()


def test_every_message_is_written_in_one_form() -> None:
    """Messages and advice are one line, begin small, have no full stop, and name their subject."""
    seen = 0
    for module, name, call, _ in calls():
        if name not in OURS | {"add_note"}:
            continue
        given = [*call.args, *(word.value for word in call.keywords if word.arg in ("reason", "expected"))]
        for place, text in enumerate(map(texts_of, given)):
            if text is None:
                continue
            seen += 1
            where = f"{module}:{call.lineno}: {text}"
            assert not text.rstrip().endswith((".", "!")), where
            assert "\n" not in text, where
            assert not re.match(r"(?!None\b|Boolean\b|Jan\b)[A-Z][a-z]", text), where
            if place == 0 and name in OURS - NAMED:
                assert re.match(r"[^:]+: \S", text), where
    assert seen > 200


def of_a_trail(trail: ak.Trail, folder: Path) -> dict[str, Callable[[], object]]:
    """Return mistakes with a trail, by what they are."""
    frame = trail.scan()
    table = pl.DataFrame({"action": ["a"], "time": ["x"]})
    return {
        "append: no action": lambda: trail.append(actor="ann"),
        "append: empty action": lambda: trail.append(action=""),
        "append: unknown field": lambda: trail.append(action="a", acter="ann"),
        "append: text for a number": lambda: trail.append(action="a", value="many"),  # type: ignore[arg-type]
        "append: number for text": lambda: trail.append(action="a", actor=7),  # type: ignore[arg-type]
        "append: not finite": lambda: trail.append(action="a", value=float("nan")),
        "append: time without zone": lambda: trail.append(action="a", ts="2026-11-24T07:00"),
        "append: naive datetime": lambda: trail.append(action="a", ts=NOW.replace(tzinfo=None)),
        "append: compact time": lambda: trail.append(action="a", ts="20261124T070000Z"),
        "append: number as time": lambda: trail.append(action="a", ts=1_700_000_000),  # type: ignore[arg-type]
        "append: far ahead": lambda: trail.append(action="a", ts=NOW + timedelta(days=9)),
        "append: year 1": lambda: trail.append(action="a", ts="0001-01-01T00:00:00Z"),
        "append: attrs no JSON": lambda: trail.append(action="a", attrs="{"),
        "append: attrs an array": lambda: trail.append(action="a", attrs="[1]"),
        "append: attrs too deep": lambda: trail.append(action="a", attrs='{"a":' * 99 + "1" + "}" * 99),
        "append: attrs too long": lambda: trail.append(action="a", attrs={"a": "x" * (1 << 21)}),
        "append: attrs not JSON": lambda: trail.append(action="a", attrs={"a": object()}),
        "append: surrogate": lambda: trail.append(action="a", actor="\ud800"),
        "append: long text": lambda: trail.append(action="a" * 70_000),
        "append: own source": lambda: trail.append(action="a", source="auditkit"),
        "append: unknown zone": lambda: trail.append(action="a", ts="2026-11-24T07:00", tz="Europe/Stokholm"),
        "extend: one mapping": lambda: trail.extend({"action": "a"}),
        "extend: text": lambda: trail.extend("action"),
        "extend: a number": lambda: trail.extend(7),
        "extend: no rows": lambda: trail.extend([1, 2]),
        "extend: a bad row": lambda: trail.extend([{"action": "a"}, {"actor": "ann"}]),
        "extend: seq given": lambda: trail.extend([{"action": "a", "seq": 7}]),
        "extend: no ts": lambda: trail.extend(table),
        "extend: ts neither": lambda: trail.extend(table, ts="then"),  # type: ignore[arg-type]
        "extend: on_invalid": lambda: trail.extend([], on_invalid="ignore"),  # type: ignore[arg-type]
        "range: start": lambda: trail.range("soon"),
        "range: unsigned": lambda: trail.range("7d"),
        "range: end first": lambda: trail.range("2026-11-25", "2026-11-24"),
        "range: naive": lambda: trail.range(NOW.replace(tzinfo=None)),
        "range: number": lambda: trail.range(7),  # type: ignore[arg-type]
        "range: tz": lambda: trail.range(tz="Nowhere"),
        "range: limit": lambda: trail.range(limit=-1),
        "range: columns": lambda: trail.range(columns=["ts", "actr"]),
        "range: empty path": lambda: trail.range(columns=["attrs."]),
        "where: column": lambda: trail.range(where={"actr": "ann"}),
        "where: no mapping": lambda: trail.range(where="actor=ann"),
        "where: a list": lambda: trail.range(where=["actor"]),  # type: ignore[arg-type]
        "where: an object": lambda: trail.range(where={"actor": {"a": 1}}),
        "where: a time": lambda: trail.range(where={"ts": "yesterday"}),
        "where: time for text": lambda: trail.range(where={"actor": NOW}),
        "where: not a number": lambda: trail.range(where={"value": "many"}),
        "where: not finite": lambda: trail.range(where={"value": float("inf")}),
        "where: deep path": lambda: trail.range(where={"attrs" + ".a" * 99: 1}),
        "where: expression": lambda: trail.range(where=pl.col("actr") == "ann"),
        "group_by: column": lambda: trail.group_by("actr"),
        "group_by: twice": lambda: trail.group_by(["actor", "actor"]),
        "group_by: number": lambda: trail.group_by(7),  # type: ignore[arg-type]
        "group_by: number in a list": lambda: trail.group_by([7]),  # type: ignore[list-item]
        "group_by: aggs a number": lambda: trail.group_by("actor", aggs=7),  # type: ignore[arg-type]
        "range: columns a number": lambda: trail.range(columns=7),  # type: ignore[arg-type]
        "group_by: every": lambda: trail.group_by("actor", every="often"),
        "group_by: every zero": lambda: trail.group_by("actor", every="0s"),
        "group_by: aggs": lambda: trail.group_by("actor", aggs="median"),
        "group_by: no aggs": lambda: trail.group_by("actor", aggs=[]),
        "downsample: every": lambda: trail.downsample("1mo1d"),
        "downsample: fill": lambda: trail.downsample("1h", fill="backward"),  # type: ignore[arg-type]
        "sql: no SELECT": lambda: trail.sql("DROP TABLE events"),
        "sql: no SQL": lambda: trail.sql("SELEC 1"),
        "sql: no column": lambda: trail.sql("SELECT actr FROM events"),
        "sql: a file": lambda: trail.sql("SELECT * FROM read_csv('/etc/passwd')"),
        "sql: two": lambda: trail.sql("SELECT 1; SELECT 2"),
        "tail: n": lambda: trail.tail(-1),
        "at: beyond": lambda: trail.at(10**6),
        "at: append": lambda: trail.at(1).append(action="a"),
        "follow: name": lambda: trail.follow("My Mailer"),
        "follow: start": lambda: trail.follow(start=10**6),
        "follow: time": lambda: trail.follow(start="soon"),
        "follow: where": lambda: next(iter(trail.follow(where={"actr": 1}, timeout_s=0))),
        "follow: max_deliver": lambda: trail.follow("mailer", max_deliver=0),
        "set_retention: minutes": lambda: trail.set_retention("3m"),
        "set_retention: words": lambda: trail.set_retention("a while"),
        "set_retention: zero": lambda: trail.set_retention("0d"),
        "set_retention: shorter": lambda: trail.set_retention("1h"),
        "set_retention: rule": lambda: trail.set_retention([({"actr": "ann"}, "90d")]),
        "set_retention: no rules": lambda: trail.set_retention(7),  # type: ignore[arg-type]
        "hold: no name": lambda: trail.hold("", reason="case"),
        "hold: no reason": lambda: trail.hold("case", reason=""),
        "hold: expression": lambda: trail.hold("case", where=pl.col("actor") == "ann", reason="x"),  # type: ignore[arg-type]
        "hold: column": lambda: trail.hold("case", where={"actr": "ann"}, reason="x"),
        "hold: start": lambda: trail.hold("case", "soon", reason="x"),
        "release: none": lambda: trail.release("case", reason="over"),
        "plan_prune: ahead": lambda: trail.plan_prune(now=NOW + timedelta(days=9)),
        "prune: ahead": lambda: trail.prune(now=NOW + timedelta(days=9)),
        "prune: naive": lambda: trail.prune(now=NOW.replace(tzinfo=None)),
        "maintain: ahead": lambda: trail.maintain(now=NOW + timedelta(days=9)),
        "rollup: every": lambda: trail.rollup("1s"),
        "rollup: by": lambda: trail.rollup("1h", by=["actr"]),
        "tier: none": lambda: trail.tier("1h"),
        "report: notebook": lambda: ak.report("overveiw", trail=trail),
        "report: a path": lambda: ak.report(folder / "no.ipynb", trail=trail),
        "report: parameter": lambda: ak.report("overview", trail=trail, parameters={"actr": 1}),
        "report: where": lambda: ak.report("overview", trail=trail, where=pl.col("actor") == "ann"),  # type: ignore[arg-type]
        "render: none": lambda: ak.render(folder / "no.ipynb"),
        "backup: there": lambda: ak.backup(trail, trail.path),
        "audited: on_error": lambda: ak.audited(trail, action="a", on_error="ignore"),  # type: ignore[arg-type]
        "attr: path": lambda: ak.attr(""),
        "attr: dtype": lambda: ak.attr("a", dtype=pl.List(pl.Int64)),
        "query: no ts": lambda: query.range(pl.DataFrame({"a": [1]})),
        "query: naive ts": lambda: query.range(pl.DataFrame({"ts": [NOW.replace(tzinfo=None)]})),
        "query: gap": lambda: query.sessions(frame, "1mo"),
        "query: compare": lambda: query.compare(frame, frame, by="actr"),
        "query: first_seen": lambda: query.first_seen(frame, "actr"),
        "create: there": lambda: ak.create(trail.path),
        "create: retention": lambda: ak.create(folder / "new", retention="some"),
        "create: minutes": lambda: ak.create(folder / "new", retention="3m"),
        "create: tz": lambda: ak.create(folder / "new", tz="Nowhere"),
        "create: partition": lambda: ak.create(folder / "new", partition="2d"),  # type: ignore[arg-type]
        "create: group": lambda: ak.create(folder / "new", group="all"),  # type: ignore[arg-type]
        "create: field": lambda: ak.create(folder / "new", fields={"Actor": pl.String}),
        "create: dtype": lambda: ak.create(folder / "new", fields={"a": pl.List(pl.Int64)}),
        "create: max_ahead": lambda: ak.create(folder / "new", max_ahead="-1d"),
        "open: none": lambda: ak.open(folder / "none"),
        "open: no trail": lambda: ak.open(folder),
    }  # fmt: skip


def faults_of(error: BaseException) -> list[str]:
    """Return what is wrong with how an error is written."""
    message, faults = str(error), []
    if not isinstance(error, AuditError):
        return [f"{type(error).__name__} is none of ak.errors: {message}"]
    if not re.match(r"[^:\n]+: [^\n]+[^.\n!]\Z", message):
        faults.append(f"not subject: fact: {message!r}")
    if not message.isprintable() or len(message) > 600:
        faults.append(f"not to be shown, or too long: {message!r}")
    if len(re.findall(r"found ", message)) > 2:
        faults.append(f"says what was found more than once: {message!r}")
    for note in getattr(error, "__notes__", []):
        if not note.isprintable() or note.endswith("."):
            faults.append(f"advice is not one line without a full stop: {note!r}")
    if (
        isinstance(error, errors.InvalidArgumentError)
        and f"(found {errors.shorten(error.value)})" not in message
    ):
        faults += (
            []
            if f"found {errors.shorten(error.value)})" in message
            else [f"does not show the value: {message!r}"]
        )
    return faults


def test_every_mistake_is_told_in_one_form(tmp_path: Path) -> None:
    """Whatever is called wrongly, the error is one of ours, on one line, with its subject, fact and what was found."""
    faults: dict[str, list[str]] = {}
    with ak.create(tmp_path / "audit") as trail:
        trail.append(action="a", actor="ann", attrs={"n": 1}).wait()
        for name, mistake in of_a_trail(trail, tmp_path).items():
            try:
                mistake()
            except Exception as error:
                found = faults_of(error)
            else:
                found = ["is no error"]
            if found:
                faults[name] = found
        assert trail.end_seq == 1
    with pytest.raises(AuditError) as closed:
        trail.append(action="a")
    assert not faults_of(closed.value)
    assert not faults
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "line",
    [
        "grop-by actor",
        "range --strat -1h",
        "range --start soon",
        "range --where actor",
        "range --where actr=ann",
        "range --where actor=a --where actor=b",
        "range --columns actr",
        "range --limit 0",
        "range --tz Nowhere",
        "range --at 99",
        "group-by actr",
        "group-by action --every often",
        "group-by action --sort nothing",
        "downsample 1h --fill backward",
        "sql 'SELECT actr FROM events'",
        "sql 'SELECT 1' --param who",
        "append",
        "append --action a --ts 2026-11-24",
        "append --action a --field actr=1",
        "import none.jsonl",
        "import none.jsonl --map actr=user",
        "report nothing",
        "policy set 3m",
        "init audit",
        "consumers forget nobody",
        "tail --at 99",
    ],
)
def test_the_command_line_tells_mistakes(line: str, tmp_path: Path) -> None:
    """A mistake on the command line ends in one error on standard error, and an exit code of its kind."""
    with ak.create(tmp_path / "audit") as trail:
        trail.append(action="a").wait()
    line = line.replace("audit", str(tmp_path / "audit")) if line.startswith("init") else line
    done = CliRunner().invoke(cli, shlex.split(line), env={"AUDITKIT_TRAIL": str(tmp_path / "audit")})
    assert done.exit_code in (1, 2), done.output
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug in auditkit" not in done.stderr
    assert not done.stdout
