"""The state of a trail in Prometheus' text exposition format (version 0.0.4), for a textfile collector or a scrape.

Numbers only: the labels are the trail's name and id and the names of consumers; nothing from an event, and nothing
that only the process which asks could know, such as its own commits.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from auditkit import __version__
from auditkit.text import visible
from auditkit.trail.summaries import Stats

Value = float | datetime | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: what it is called and means, and its samples, labels first; a `None` is left out."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: Iterable[tuple[Mapping[str, str], Value]]


def exposition(stats: Stats, *, trail: str, trail_id: str) -> str:
    """Return the metrics of the trail called `trail` as text that ends in a line break."""
    labels = {"trail": trail}
    lines = []
    for metric in _metrics(stats, labels, trail_id):
        samples = [(own, value) for own, value in metric.samples if value is not None]
        if samples:
            lines.append(f"# HELP {metric.name} {metric.help}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines += [f"{metric.name}{_labels(own)} {_number(value)}" for own, value in samples]
    return "\n".join(lines) + "\n"


def _metrics(stats: Stats, labels: Mapping[str, str], trail_id: str) -> Iterator[Metric]:
    queue, segments, retention = stats.queue, stats.segments, stats.retention
    about = {**labels, "trail_id": trail_id, "version": __version__}
    yield Metric(
        "auditkit_trail_info", "gauge", "The trail, and the version that looked at it.", [(about, 1)]
    )

    def one(name: str, help_text: str, value: Value, kind: Literal["gauge", "counter"] = "gauge") -> Metric:
        return Metric(f"auditkit_{name}", kind, help_text, [(labels, value)])

    oldest = 0.0 if queue.oldest_age_s is None else queue.oldest_age_s
    yield one("queue_depth", "Committed events that are not in segments yet.", queue.depth)
    yield one("queue_bytes", "Size of the queue's files.", queue.bytes)
    yield one("queue_oldest_age_seconds", "Age of the oldest event that is not in segments yet.", oldest)
    yield one("events_committed_total", "Events ever committed.", queue.committed, "counter")
    yield one("events_flushed_total", "Events ever moved into segments.", queue.flushed, "counter")
    yield one("segments", "Segment files that count.", segments.count)
    yield one("segment_events", "Events in segments.", segments.rows)
    yield one("segment_bytes", "Size of the segments.", segments.bytes)
    yield one("partitions", "Partitions that hold segments.", segments.partitions)
    yield one("events_pruned_total", "Events ever removed by retention.", retention.pruned, "counter")
    yield one("prunable_events", "Events in segments that a prune would remove now.", retention.prunable)
    yield one(
        "retention_horizon_waits",
        "1 where events lie too far ahead of the horizon to move it by themselves.",
        retention.ahead is not None,
    )
    yield Metric(
        "auditkit_maintenance_due", "gauge", "1 where maintenance is due.",
        [({**labels, "task": task}, task in stats.due) for task in ("flush", "prune", "compact")],
    )  # fmt: skip
    yield one("retention_horizon_timestamp_seconds", "What retention measures from.", retention.horizon)
    yield one("last_prune_timestamp_seconds", "When retention last removed events.", retention.last_prune)
    yield one("dead_letters", "Inputs kept that have not become events.", stats.dead_letters)
    yield one("late_dead_letters", "Of these, events that were expired on arrival.", retention.late)
    yield from _consumer_metrics(stats, labels)


def _consumer_metrics(stats: Stats, labels: Mapping[str, str]) -> Iterator[Metric]:
    each = [({**labels, "consumer": consumer.name}, consumer) for consumer in stats.consumers]
    yield Metric(
        "auditkit_consumer_lag", "gauge", "Events committed behind a consumer's position.",
        [(own, consumer.lag) for own, consumer in each],
    )  # fmt: skip
    yield Metric(
        "auditkit_consumer_position", "gauge", "The seq that a consumer goes on from.",
        [(own, consumer.position) for own, consumer in each],
    )  # fmt: skip
    yield Metric(
        "auditkit_consumer_missed_total", "counter", "Events that were gone before a consumer came to them.",
        [(own, consumer.missed) for own, consumer in each],
    )  # fmt: skip
    yield Metric(
        "auditkit_consumer_given_up_total", "counter", "Events that a consumer was given too often.",
        [(own, consumer.given_up) for own, consumer in each],
    )  # fmt: skip
    yield Metric(
        "auditkit_consumer_moved_timestamp_seconds", "gauge", "When a consumer's position last moved.",
        [(own, consumer.moved) for own, consumer in each],
    )  # fmt: skip


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')


def _number(value: Value) -> str:
    if isinstance(value, datetime):
        value = value.timestamp()
    return str(int(value)) if isinstance(value, bool) else str(value)
