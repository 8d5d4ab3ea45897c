"""Make the golden trail: a small trail of format 1 that every later version must open and answer from as this one does.

Run `python -m tests.golden.make` to write `trail/` and `answers.json` anew.  That is right only as long as no version
with the format was released; afterwards what is committed stays as it is, and another format gets another folder.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from auditkit.api import Trail
from auditkit.errors import PrunedError
from auditkit.keep.plan import PrunePlan
from auditkit.opening import create, open_trail
from auditkit.queue import payload
from auditkit.queue.consumers import read_positions
from auditkit.queue.dead_letters import read_letters
from auditkit.store import segment
from auditkit.timerange import from_us
from auditkit.write import extend
from tests.fakes import ManualClock
from tests.oracle import read_trail

HERE = Path(__file__).parent
TRAIL, ANSWERS = HERE / "trail", HERE / "answers.json"
BEGIN = datetime(2025, 3, 26, 8, tzinfo=UTC)  # four days before Stockholm sets its clocks forward
FIELDS = {
    "amount": pl.Float64,
    "pages": pl.Int64,
    "urgent": pl.Boolean,
    "room": pl.String,
    "due": pl.Datetime("us", "UTC"),
}
ACTIONS = ("auth.login", "doc.read", "doc.sign", "order.paid", "order.sent")
NAMES = ("ann", "bob", "çağla", "다윤", "eve smith", "<b>mallory</b>", "", None)


def events(start: datetime, count: int, *, keyed: str | None = None) -> list[dict[str, Any]]:
    """Return events a minute and a bit apart, with something in every column somewhere, and nothing in others."""
    found = []
    for number in range(count):
        moment = start + timedelta(seconds=97 * number, microseconds=number)
        found.append(
            {
                "ts": moment,
                "action": ACTIONS[number % len(ACTIONS)],
                "actor": NAMES[number % len(NAMES)] if number % 3 else f"user {number}",
                "resource": f"doc/{number % 17}" if number % 4 else None,
                "outcome": (None, "success", "success", "failure", "denied")[number % 5],
                "source": ("web", "batch", None)[number % 3],
                "correlation": f"request {number // 6}",
                "id": None if keyed is None else f"{keyed} {number}",
                "value": None if number % 7 == 0 else number / 8,
                "attrs": {"status": 200 + number % 3, "ip": f"10.0.0.{number % 9}", "tags": ["å", number]},
                "amount": number / 3 if number % 2 else None,
                "urgent": number % 11 == 0,
                "room": "attic\n" if number % 13 == 0 else None,
                "due": moment + timedelta(days=2) if number % 6 == 0 else None,
            }
        )
    return found


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return events as a table."""
    return pl.DataFrame(
        [{**row, "attrs": json.dumps(row["attrs"])} for row in rows], infer_schema_length=None
    )


def make(root: Path) -> int:
    """Write the trail, with every kind of row, file and log frame; return where its clock stands at the end."""
    clock = ManualClock(BEGIN.isoformat())
    with (
        pytest.MonkeyPatch.context() as patched,
        create(
            root, retention="7d", fields=FIELDS, tz="Europe/Stockholm", maintain=False, clock=clock
        ) as trail,
    ):
        patched.setattr(segment, "BATCH_ROWS", 32)
        patched.setattr(extend, "BULK_ROWS", 60)
        patched.setattr(payload, "STREAM_ROWS", 8)
        patched.setattr(payload, "PAYLOAD_ROWS", 16)
        trail.rollup("6h", by=["action", "outcome"], keep="30d")
        trail.rollup("1d", by="source", tz="UTC")
        for day in range(6):  # two segments a day, of which compaction makes one
            for part in range(2):
                trail.extend(events(trail.now() - timedelta(hours=2), 20 + day, keyed=f"{day} {part}")).wait()
                trail.flush()
                clock.advance(hours=8)  # the prune to come cuts through a day
            clock.advance(hours=8)
        trail.extend(frame(events(trail.now() - timedelta(hours=30), 80))).wait()  # a bulk load
        trail.set_retention({"doc.sign": "5d", "*": "4d"}, confirm=True)
        trail.hold("case 17", BEGIN, "+1d", where={"actor": "user 9"}, reason="a lawsuit")
        trail.hold("settled", reason="by mistake")
        trail.release("settled", reason="withdrawn")
        trail.extend(
            [*events(trail.now(), 2), {"action": ""}, {"action": "late", "value": float("inf")}],
            on_invalid="dead-letter",
        ).wait()
        trail.maintain(now=from_us(clock.us), compact=True)
        clock.advance(hours=5)
        trail.append(action="before the prune", ts=trail.now()).wait()
        trail.prune()
        for _ in range(2):
            trail.append(action="small", ts=trail.now() - timedelta(days=2)).wait()
            trail.flush()
        trail.maintain(compact=True)
        deliver(trail)
        trail.append(action="single", id="a key", actor="ann", amount=2.5).wait()
        trail.extend(frame(events(trail.now(), 64))).wait()  # leaves its frame in the queue
        trail.extend(events(trail.now(), 24, keyed="queued")).wait()  # several log frames
        trail.extend(frame(events(trail.now(), 20))).wait()  # columns
        trail.handle.active_queue().rotate()  # two queue files, as where a flush died
        clock.advance(minutes=10)
        trail.extend(events(trail.now(), 5, keyed="newest")).wait()
    return clock.us


def deliver(trail: Trail) -> None:
    """Let a consumer acknowledge some events and give up on one."""
    follower = trail.follow("mailer", timeout_s=0, retry_s=0, max_deliver=1)
    for number, delivery in zip(range(40), follower, strict=False):
        if number == 7:
            delivery.fail("no such mailbox")
        else:
            delivery.ack()
    follower.close()


def opened(root: Path, us: int) -> Trail:
    """Open a copy of the trail as of the moment its clock stood at."""
    clock = ManualClock()
    clock.us = us
    return open_trail(root, clock=clock, maintain=False)


def answers(trail: Trail, *names: str) -> dict[str, Any]:
    """Return all that a trail answers, or the answers of these names, as plain JSON."""
    start, where = "2025-03-29", {"action": "doc.*", "outcome": ["success", None]}
    asked: dict[str, Callable[[], Any]] = {
        "state": lambda: state(trail),
        "all": lambda: trail.range(own=True).sort("seq"),
        "window": lambda: trail.range(start, "+1d", where=where, columns=["seq", "ts", "actor", "attrs.ip"]),
        "one actor": lambda: trail.range(where={"actor": "user 9"}, columns=["seq", "amount", "due"]),
        "last": lambda: trail.range(limit=3, descending=True, columns=["seq", "ts"]),
        "per hour": lambda: trail.group_by("action", every="1h", start=start),
        "per day": lambda: trail.group_by(["source", "urgent"], every="1d"),
        "totals": lambda: trail.group_by([], aggs=["count", "sum", "min", "max", "p50"]),
        "downsampled": lambda: trail.downsample("6h", by="outcome", start="2025-03-30", end="+1d", fill=0),
        "rolled up": lambda: trail.downsample("12h", by="outcome", where={"action": "doc.*"}, tier="6h"),
        "scan": lambda: trail.scan(start).filter(pl.col("pages").is_null()).select(pl.len()).collect(),
        "sql": lambda: trail.sql(
            "SELECT outcome, count(*) AS n FROM events GROUP BY outcome ORDER BY n, outcome"
        ),
        "tail": lambda: trail.tail(4),
        "plan": lambda: planned(trail.plan_prune()),
        "followed": lambda: [delivery.seq for delivery in trail.follow(start=300, timeout_s=0)],
        "letters": lambda: [[one.reason, one.input, one.consumer, one.seq] for one in letters(trail)],
        "consumers": lambda: {name: place.next_seq for name, place in read_positions(trail.handle.layout)},
        **{f"at {seq}": partial(past, trail, seq) for seq in (0, 20, 150, 260, 330, trail.end_seq)},
    }
    return {name: plain(asked[name]()) for name in names or asked}


def letters(trail: Trail) -> list[Any]:
    """Return the dead letters."""
    return list(read_letters(trail.handle.layout))


def state(trail: Trail) -> dict[str, Any]:
    """Return what a trail says of itself."""
    stats = trail.stats()
    return {
        "id": trail.trail_id,
        "tz": trail.tz,
        "fields": {name: str(kind) for name, kind in trail.fields.items()},
        "end_seq": trail.end_seq,
        "policy": trail.retention.policy,
        "segments": [
            stats.segments.count,
            stats.segments.rows,
            stats.segments.bytes,
            stats.segments.replaced,
        ],
        "retention": asdict(stats.retention),
        "queued": stats.queue.depth,
        "dead_letters": stats.dead_letters,
        "consumers": [asdict(consumer) for consumer in stats.consumers],
    }


def planned(plan: PrunePlan) -> list[Any]:
    """Return what a plan says."""
    parts = [
        [(part.first_seq, part.last_seq, part.expired) for part in kind]
        for kind in (plan.segments, plan.boundary)
    ]
    return [plan.policy, plan.horizon, plan.cutoff, plan.rows, parts]


def past(trail: Trail, seq: int) -> Any:
    """Return what a view of the past shows, and which tombstone says that it shows less than it did."""
    try:
        return ["whole", trail.at(seq).group_by("action", aggs=["count", "sum"])]
    except PrunedError as exc:
        return [exc.tombstone, trail.at(seq, allow_pruned=True).group_by("action", aggs=["count", "sum"])]


def plain(answer: Any) -> Any:
    """Return an answer in JSON's own types, times as ISO text."""
    if isinstance(answer, pl.DataFrame):
        return {"columns": answer.columns, "rows": plain(answer.rows())}
    if isinstance(answer, dict):
        return {str(name): plain(value) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [plain(value) for value in answer]
    return answer.isoformat() if isinstance(answer, datetime) else answer


def main() -> None:
    """Write trail and answers anew, once the independent reader has found nothing wrong with the trail."""
    shutil.rmtree(TRAIL, ignore_errors=True)
    us = make(TRAIL)
    stored = read_trail(TRAIL)
    assert all(rows for table, rows in stored.catalog.items() if table != "features")
    removed = [row["rows"] for row in stored.catalog["tombstones"]]
    assert removed == [4, 16, 4, 15, 4, 16, 17, 18]  # of three days by two rules, but for what is held
    kinds = {log_frame.kind for file in stored.queue for log_frame in file.frames}
    assert kinds == {b"AKEV", b"AKPT", b"AKCM", b"AKNF", b"AKBL"}
    with opened(TRAIL, us) as trail:
        found = {"us": us, **answers(trail)}
    lines = [f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in found.items()]
    ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
