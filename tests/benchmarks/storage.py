"""Storage and queries: a trail beside other stores on one workload, as a table of ratios and a chart.

    python -m tests.benchmarks.storage --driver peers.py --sizes 1000000,10000000 --growth 1000000,3000000,10000000,30000000
    python -m tests.benchmarks.storage --from storage.jsonl      # the table and chart of a run that was made

The driver (also $PEERS) runs every store in a process of its own, interleaved within each measure, and checks their
answers against each other; it prints a JSON line per measure.  All lines are kept in `storage.jsonl`, as they come.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tests.benchmarks.growth import ADAPTER, grown

Line = dict[str, Any]
ROOT = Path(__file__).parents[2]
PEERS = ("parquet", "duckdb", "deltalake", "lancedb")
PHASES = "load,query,size,delete"


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the table: a measure, which peers it is held against, and what its ratio must and should be.

    `more` claims a rate or a quickness: the larger ratio is the better one.  Otherwise the smaller one is.
    """

    words: str
    measure: str
    field: str
    peers: Sequence[str]
    floor: float
    aim: float
    kind: Literal["rate", "quickness", "cost"]

    def met(self, ratio: float, bound: float) -> bool:
        """Say whether a ratio keeps to a bound."""
        return ratio <= bound if self.kind == "cost" else ratio >= bound


CLAIMS = (
    Claim("bulk ingest, 100k batches", "load", "rows_per_s", ("parquet",), 0.8, 1.2, "rate"),
    Claim("range, 1 hour of 30 days, warm", "range_warm", "s", PEERS, 1.5, 3, "quickness"),
    Claim("count per action per hour", "group_hour", "s", PEERS, 1.2, 2, "quickness"),
    Claim("downsample to 1 minute by action", "downsample_1m", "s", PEERS, 1.0, 1.5, "quickness"),
    Claim("one actor, unindexed peers", "actor_lookup", "s", PEERS[:3], 2, 4, "quickness"),
    Claim("one actor, indexed peer", "actor_lookup", "s", ("lancedb",), 0.35, 1, "quickness"),
    Claim("bytes per event", "bytes_per_event", "bytes_per_event", ("parquet",), 1.2, 1.0, "cost"),
    Claim("drop the oldest 7 of 30 days", "delete_7d", "s", ("deltalake", "parquet"), 1.2, 1.0, "cost"),
    Claim("open, first row", "open_first", "s", ("parquet",), 1.0, 0.3, "cost"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A claim with what was found: the trail's median, the best peer's, and their ratio."""

    claim: Claim
    size: int
    ours: float
    peer: str
    theirs: float

    @property
    def ratio(self) -> float:
        """How many times the trail's figure is the peer's (times quicker, where that is claimed)."""
        return self.theirs / self.ours if self.claim.kind == "quickness" else self.ours / self.theirs


def compared(lines: Sequence[Line]) -> Iterator[Row]:
    """Yield the rows of the table for every size, as far as the lines have both sides."""
    for size in sorted({line["store_rows"] for line in lines if "store_rows" in line}):
        medians = _medians([line for line in lines if line.get("store_rows") == size])
        for claim in CLAIMS:
            found = {
                p: medians[p, claim.measure, claim.field]
                for p in claim.peers
                if (p, claim.measure, claim.field) in medians
            }
            ours = medians.get(("auditkit", claim.measure, claim.field))
            if ours is not None and found:
                best = (max if claim.kind == "rate" else min)(found, key=lambda peer: found[peer])
                yield Row(claim, size, ours, best, found[best])


def _medians(lines: Sequence[Line]) -> dict[tuple[str, str, str], float]:
    figures: dict[tuple[str, str, str], list[float]] = {}
    for line in lines:
        if line.get("error") is None:
            for field in ("s", "rows_per_s", "bytes_per_event"):
                if field in line:
                    figures.setdefault((line["peer"], line["measure"], field), []).append(line[field])
    return {key: statistics.median(values) for key, values in figures.items()}


def table(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the table in Markdown: each claim at each size, growth, and what went wrong."""
    yield "| events | measure | auditkit | beside | ratio | floor | aim | |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in compared(lines):
        claim, sign = row.claim, "≤ " if row.claim.kind == "cost" else ""
        verdict = (
            "aim"
            if claim.met(row.ratio, claim.aim)
            else "floor"
            if claim.met(row.ratio, claim.floor)
            else "below"
        )
        figures = f"{_figure(claim, row.ours)} | {_figure(claim, row.theirs)} ({row.peer}) | {row.ratio:.2f}"
        yield f"| {row.size:,} | {claim.words} | {figures} | {sign}{claim.floor:g} | {sign}{claim.aim:g} | {verdict} |"
    steps = [line for line in lines if "step" in line]
    if steps:
        yield from (
            "",
            "| events | step | seconds | peak memory | of it before the step |",
            "|---|---|---|---|---|",
        )
    for line in steps:
        memory = f"{line['peak_bytes'] / 1e6:,.0f} MB | {line['base_bytes'] / 1e6:,.0f} MB"
        yield f"| {line['rows']:,} | {line['step']} | {line['seconds']:.3f} | {memory} |"
    for line in lines:
        if line.get("measure") == "MISMATCH" or line.get("error") is not None:
            yield f"\n{line['peer']}, {line.get('of', line['measure'])}: {line.get('error', 'another answer than its peers')}"


def _figure(claim: Claim, value: float) -> str:
    unit = {"rows_per_s": "/s", "bytes_per_event": " B"}.get(claim.field)
    return f"{value * 1e3:,.1f} ms" if unit is None else f"{value:,.{0 if unit == '/s' else 1}f}{unit}"


def chart(lines: Sequence[Line]) -> Any:
    """Return ratios with floor and aim, oriented so that more is better, and growth below them."""
    import altair as alt

    rows = []
    for row in compared(lines):
        turned = row.claim.kind == "cost"
        values = {"ratio": row.ratio, "floor": row.claim.floor, "aim": row.claim.aim}
        rows.append(
            {"measure": row.claim.words, "events": f"{row.size:,} events"}
            | {name: 1 / value if turned else value for name, value in values.items()}
        )
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=alt.Y("measure:N", sort=None, title=None))
    scale = alt.Scale(type="log")
    ratios = alt.layer(
        base.mark_rule(strokeWidth=9, color="#94a3b8").encode(x=alt.X("ratio:Q", scale=scale, title="times as good as the best peer (orange: floor, green: aim)"), x2=alt.datum(1)),
        base.mark_tick(color="#c2410c", thickness=2).encode(x="floor:Q"),
        base.mark_tick(color="#15803d", thickness=2).encode(x="aim:Q"),
    ).properties(width=420).facet(row=alt.Row("events:N", title=None))  # fmt: skip
    steps = [line for line in lines if "step" in line]
    if not steps:
        return ratios
    grown_ = alt.Chart(alt.InlineData(values=steps)).mark_line(point=True).encode(
        x=alt.X("rows:Q", scale=scale, title="events"), color=alt.Color("step:N", title=None)
    )  # fmt: skip
    seconds = grown_.encode(y=alt.Y("seconds:Q", scale=scale, title="seconds"))
    memory = grown_.transform_calculate(mb="datum.peak_bytes / 1e6").encode(
        y=alt.Y("mb:Q", title="peak memory, MB")
    )
    return ratios & (seconds.properties(width=240) | memory.properties(width=240))


def estimated_minutes(sizes: Sequence[int], stores: int, rounds: int, growth: Sequence[int]) -> float:
    """Say how long a run takes on two cores, from runs that were made."""
    return (sum(sizes) * stores * (3 + 2 * rounds) + sum(growth) * 4) / 1e6 / 60


def measured(given: argparse.Namespace, place: Path) -> Iterator[Line]:
    """Run the driver for every size, and growth, yielding lines as they come."""
    environment = os.environ | {"PEER_ADAPTER": str(ADAPTER), "PYTHONPATH": str(ROOT)}
    for size in given.sizes:
        command = [
            sys.executable, str(given.driver), "--rows", str(size), "--rounds", str(given.rounds), "--phases", PHASES,
            "--peer", ",".join(("auditkit", *given.peers)), "--dir", str(place / "stores"), "--data", str(given.data or place / "data"),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as driver:
            assert driver.stdout is not None
            for line in driver.stdout:
                yield json.loads(line)
        if driver.returncode:
            raise subprocess.CalledProcessError(driver.returncode, command)
    for size in given.growth:
        for step in grown(given.driver.absolute(), size, place / "growing"):
            yield {"peer": "auditkit", "measure": "growth", **asdict(step)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or read what was measured, and write the table and the chart."""
    given = _parser().parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "storage.jsonl"
    if given.lines is not None:
        lines = [json.loads(line) for line in given.lines.read_text().splitlines()]
    else:
        if given.driver is None:
            raise SystemExit("give the driver with --driver or $PEERS")
        minutes = estimated_minutes(given.sizes, len(given.peers) + 1, given.rounds, given.growth)
        sys.stderr.write(f"about {minutes:.0f} minutes\n")
        lines = []
        if given.dir is not None:
            given.dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=given.dir) as place, kept.open("w") as file:
            for line in measured(given, Path(place)):
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
    words = "\n".join(table(lines))
    (given.out / "storage.md").write_text(words + "\n")
    chart(lines).save(given.out / "storage.svg")
    sys.stdout.write(words + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--driver", type=Path, default=os.environ.get("PEERS"), help="default: $PEERS")
    parser.add_argument("--from", dest="lines", type=Path, help="take the lines of an earlier run")
    parser.add_argument("--sizes", type=_numbers, default=[1_000_000], help="events, separated by commas")
    parser.add_argument("--growth", type=_numbers, default=[], help="events of the trails that show growth")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where the stores lie (default: the system's place)")
    parser.add_argument("--data", type=Path, help="where the driver keeps its events between runs")
    parser.add_argument("--out", type=Path, default=Path(), help="where storage.jsonl, .md and .svg go")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


if __name__ == "__main__":
    main()
