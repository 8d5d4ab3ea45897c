"""The events of the benchmark: 30 days, the same at every call, made where they are needed and a chunk at a time."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

START = datetime(2026, 9, 1, tzinfo=UTC)
DAYS = 30
HOUR = (START + timedelta(days=10, hours=10), START + timedelta(days=10, hours=11))
OFTEN, SELDOM = "user00000@example.org", "user01400@example.org"
"""An actor with a tenth of all events, and one with some 490 of ten million."""
SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("us", "UTC")),
        *[(name, pa.string()) for name in ("id", "actor", "action", "resource", "outcome", "origin")],
        ("severity", pa.int64()),
        ("value", pa.float64()),
        ("attrs", pa.string()),
    ]
)
_VERBS = ("create", "read", "update", "delete", "list", "login", "grant", "revoke", "export", "import")
_ACTIONS = [f"{noun}.{verb}" for noun in ("doc", "user", "key", "repo", "job", "host") for verb in _VERBS]
_ACTORS = [f"user{number:05}@example.org" for number in range(5_000)]
_ORIGINS = [f"10.{n >> 8}.{n & 255}.{n * 37 % 251}" for n in range(20_000)]
_RESOURCES = [f"/{('docs', 'repos', 'users', 'jobs')[n & 3]}/{n}" for n in range(200_000)]
_REGIONS = ("eu-west", "us-east", "ap-south")


def made_events(first: int, count: int, total: int) -> pa.Table:
    """Return events `first` to `first + count` of so many, about 250 bytes each, in the order in which they came."""
    draw = np.random.default_rng([7, first])
    span_us = DAYS * 86_400_000_000
    late_us = np.minimum(draw.exponential(500_000, count), 5_000_000)
    stamps = ((first + np.arange(count) + draw.random(count)) * (span_us / total) - late_us).clip(0)
    actors = np.where(draw.random(count) < 0.1, 0, 1 + _skewed(draw, count, len(_ACTORS) - 1, 1.1))
    numbers = pa.array(draw.integers(1, 5_000, count)).cast(pa.string())
    regions = pa.array(_REGIONS).take(pa.array(draw.integers(0, len(_REGIONS), count)))
    attrs = pc.binary_join_element_wise(
        '{"req":"', _hex(draw, count, 16), '","ms":', numbers, ',"region":"', regions, '"}', ""
    )
    outcomes = draw.choice(3, count, p=[0.93, 0.05, 0.02])
    columns = [
        pa.array(int(START.timestamp()) * 1_000_000 + stamps.astype("i8")).cast(SCHEMA.field("ts").type),
        _hex(draw, count, 32),
        pa.array(_ACTORS).take(pa.array(actors)),
        pa.array(_ACTIONS).take(pa.array(_skewed(draw, count, len(_ACTIONS), 0.9))),
        _resources().take(pa.array(_skewed(draw, count, len(_RESOURCES), 0.6))),
        pa.array(["ok", "denied", "error"]).take(pa.array(outcomes)),
        pa.array(_ORIGINS).take(pa.array(_skewed(draw, count, len(_ORIGINS), 0.8))),
        pa.array(draw.integers(0, 8, count)),
        pa.array(draw.lognormal(3, 1, count).round(3), mask=draw.random(count) < 0.3),
        attrs,
    ]
    return pa.table(columns, schema=SCHEMA)


def made_dicts(count: int) -> list[dict[str, Any]]:
    """Return events as a producer has them."""
    dicts: list[dict[str, Any]] = made_events(0, count, count).to_pylist()
    return dicts


@cache
def _resources() -> pa.Array:
    return pa.array(_RESOURCES)


@cache
def _shares(size: int, power: float) -> Any:
    weights = 1 / np.arange(1, size + 1) ** power
    return np.cumsum(weights) / weights.sum()


def _skewed(draw: np.random.Generator, count: int, size: int, power: float) -> Any:
    """Return numbers below `size`, the small ones often: a bounded Zipf distribution."""
    return np.searchsorted(_shares(size, power), draw.random(count)).clip(0, size - 1)


def _hex(draw: np.random.Generator, count: int, width: int) -> pa.Array:
    digits = np.frombuffer(b"0123456789abcdef", "u1")[draw.integers(0, 16, (count, width), dtype="u1")]
    ends = np.arange(count + 1, dtype="i4") * width
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(digits.tobytes()))
