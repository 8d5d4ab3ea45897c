"""An explorer's answers beside the same questions written by hand for DuckDB over Parquet: wall and CPU time, and memory.

`python -m tests.benchmarks.explore [--events 10000000] [--rounds 3] [--trail FOLDER]` writes a row for each to the standard
output.  Each round is a fresh process of each, so that the first paint is a first one; the trail is opened, and DuckDB
connected, before the clock runs.  The Python side of the widget gets the messages that the browser sends.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pyarrow.parquet as pq

import auditkit as ak
from auditkit.explorer.selection import FACETS
from auditkit.explorer.widget import Explorer
from auditkit.timerange import to_us
from tests.benchmarks.events import OFTEN, SELDOM, START, made_events

CHUNK = 250_000
FIRST = to_us(START)
DAY = 86_400_000_000
TEN_DAYS = (FIRST + 10 * DAY, FIRST + 20 * DAY)
CLICKS: dict[str, dict[str, Any]] = {
    "keep an outcome": {"keep": {"outcome": ["denied"]}},
    "leave an actor out": {"keep": {"outcome": ["denied"]}, "leave_out": {"actor": [OFTEN]}},
    "keep five actions": {
        "keep": {"action": ["doc.create", "doc.read", "doc.update", "doc.delete", "doc.list"]}
    },
    "leave an outcome out": {"leave_out": {"outcome": ["ok"]}},
    "brush ten days": {"brush": TEN_DAYS},
    "brush and keep a rare actor": {"brush": TEN_DAYS, "keep": {"actor": [SELDOM]}},
    "four facets at once": {
        "keep": {"outcome": ["ok", "error"], "action": ["doc.create", "doc.read", "user.login"]},
        "leave_out": {"actor": [OFTEN], "origin": ["10.0.0.0"]},
    },
}
SEARCH, WORDS = "search two words", "docs 4711"
MEASURES = ("wall_s", "cpu_s")


class Clock:
    """What steps of one process take."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    def take(self, name: str, work: Callable[[], Any]) -> Any:
        """Do something and note what it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        self.rows[name] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        return found


def fill(root: Path, parquet: Path, events: int) -> None:
    """Make the trail and the Parquet files of the same events."""
    parquet.mkdir()
    with ak.create(root) as trail:
        for first in range(0, events, CHUNK):
            rows = made_events(first, min(CHUNK, events - first), events).drop_columns(["id", "severity"])
            pq.write_table(rows, parquet / f"{first:09}.parquet", compression="zstd")
            trail.extend(rows).wait()
            trail.flush()
        trail.maintain(compact=True)


def ask_widget(root: Path) -> dict[str, Any]:
    """Open a trail, explore it as a browser would, and return what it took and the totals."""
    trail, clock, sent = ak.open(root, maintain=False), Clock(), []
    before = memory_mb("VmRSS")

    def heard(content: dict[str, Any]) -> None:
        explorer._heard(None, content, None)

    explorer: Explorer = clock.take("first paint", trail.explore)
    explorer.send = lambda content, **_: sent.append(content)
    totals = {"first paint": explorer.shown["total"]}
    for name, selection in CLICKS.items():
        clock.take(name, partial(heard, {"op": "ask", "n": 1, "selection": selection}))
        totals[name] = explorer.shown["total"]
    clock.take("next page", lambda: heard({"op": "page", "n": 2, "offset": 50}))
    clock.take("zoom", lambda: heard({"op": "ask", "n": 3, "selection": {}, "zoom": TEN_DAYS}))
    clock.take("find a value", lambda: heard({"op": "find", "n": 4, "facet": "actor", "text": "USER014"}))
    peak = memory_mb("VmHWM")
    clock.take(SEARCH, lambda: heard({"op": "ask", "n": 5, "selection": {"text": WORDS}}))
    totals[SEARCH] = explorer.shown["total"]
    failed = [content for content in sent if content["op"] == "failed"]
    assert not failed, failed
    memory = {"memory_mb": peak - before, "searching_mb": memory_mb("VmHWM") - before}
    return {"rows": clock.rows, "totals": totals, **memory}


def ask_duckdb(parquet: Path) -> dict[str, Any]:
    """Ask DuckDB for bars, facets and first rows of the same selections."""
    connection, clock, totals = duckdb.connect(), Clock(), {}
    files = str(parquet / "*.parquet")
    connection.read_parquet(files).project("*, NULL AS source").create_view("events")

    def ask(
        selection: dict[str, Any], bars: str = "INTERVAL 6 HOUR", zoom: str = "true"
    ) -> Callable[[], int]:
        def work() -> int:
            every = conditions(selection)
            shown = f"{zoom} AND {conditions(selection, 'brush')}"
            bucket = f"time_bucket({bars}, ts)"
            queries = [f"SELECT {bucket}, outcome, count(*) FROM events WHERE {shown} GROUP BY ALL"]
            for facet in FACETS:
                others = conditions(selection, facet)
                queries.append(f"SELECT {facet}, count(*) FROM events WHERE {others} GROUP BY ALL ORDER BY 2")
            queries.append(f"SELECT * FROM events WHERE {every} ORDER BY ts DESC LIMIT 50")
            for query in queries:
                connection.sql(query).to_arrow_table()
            return int(connection.sql(f"SELECT count(*) FROM events WHERE {every}").fetchall()[0][0])

        return work

    totals["first paint"] = clock.take("first paint", ask({}))
    for name, selection in {**CLICKS, SEARCH: {"text": WORDS}}.items():
        totals[name] = clock.take(name, ask(selection))
    clock.take("zoom", ask({}, "INTERVAL 3 HOUR", conditions({"brush": TEN_DAYS})))
    return {"rows": clock.rows, "totals": totals, "memory_mb": memory_mb("VmHWM")}


def conditions(selection: dict[str, Any], but: str = "") -> str:
    """Return a selection as SQL, but for one of its choices."""
    terms = ["true"]
    for facet, values in selection.get("keep", {}).items():
        if facet != but:
            terms.append(f"{facet} IN ({', '.join(map(repr, values))})")
    for facet, values in selection.get("leave_out", {}).items():
        if facet != but:
            terms.append(f"({facet} IS NULL OR {facet} NOT IN ({', '.join(map(repr, values))}))")
    if "brush" in selection and but != "brush":
        begin, end = selection["brush"]
        terms.append(f"ts >= make_timestamptz({begin}) AND ts < make_timestamptz({end})")
    for word in selection.get("text", "").split():
        terms.append(f"(contains(lower(resource), '{word}') OR contains(lower(attrs), '{word}'))")
    return " AND ".join(terms)


def memory_mb(field: str) -> float:
    """Return what Linux says that this process takes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write a row for each question."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=10_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument(
        "--folder", type=Path, help="where to keep the stores, which are made there if they are missing"
    )
    options.add_argument("--ask", choices=["widget", "duckdb"], help=argparse.SUPPRESS)
    asked = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary, "stores")
        root, parquet = folder / "audit", folder / "parquet"
        if asked.ask is not None:
            found = ask_widget(root) if asked.ask == "widget" else ask_duckdb(parquet)
            sys.stdout.write(json.dumps(found))
            return
        if not folder.exists():
            folder.mkdir()
            fill(root, parquet, asked.events)
        command = [sys.executable, "-m", "tests.benchmarks.explore", "--folder", str(folder), "--ask"]

        def answers(way: str) -> Any:
            return json.loads(subprocess.run([*command, way], stdout=subprocess.PIPE, check=True).stdout)

        rounds = [{way: answers(way) for way in ("widget", "duckdb")} for _ in range(asked.rounds)]
    for one in rounds:
        assert one["widget"]["totals"] == one["duckdb"]["totals"], one
    sys.stdout.write("| question | explore, wall | CPU | DuckDB, wall | CPU |\n|---|---|---|---|---|\n")
    for name in rounds[0]["widget"]["rows"]:
        cells = []
        for way in ("widget", "duckdb"):
            for measure in MEASURES:
                taken = [one[way]["rows"][name][measure] for one in rounds if name in one[way]["rows"]]
                cells.append(f"{median(taken) * 1e3:,.0f} ms" if taken else "")
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
    widget, searching = (max(one["widget"][name] for one in rounds) for name in ("memory_mb", "searching_mb"))
    theirs = max(one["duckdb"]["memory_mb"] for one in rounds)
    sys.stdout.write(
        f"memory beside the kernel's own: {widget:,.0f} MB, with a search for words {searching:,.0f} MB; "
        f"DuckDB's process {theirs:,.0f} MB\n"
    )


if __name__ == "__main__":
    main()
