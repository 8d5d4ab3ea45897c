"""Two years of an invented firm's events, from a seed: for a trail of which most events are gone, and for tests."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

BEGIN = datetime(2024, 11, 24, tzinfo=UTC)
DAYS = 730
ACTIONS = ("auth.login", "auth.logout", "doc.read", "doc.sign", "debug.trace", "order.paid")
OUTCOMES = ("success", "failure", None)
_SHARES = (0.08, 0.04, 0.5, 0.08, 0.25, 0.05)
_DAY_US = 86_400_000_000


def day(number: int, count: int) -> pl.DataFrame:
    """Return about `count` events of one day, busier by day than by night; values add up exactly."""
    draw = np.random.default_rng([20_241_124, number])
    count = int(count * (0.4 if (BEGIN + timedelta(days=number)).weekday() > 4 else 1.2)) + 1
    offsets = np.sort((draw.beta(4, 4, count) * _DAY_US).astype("int64"))
    begin_us = int(BEGIN.timestamp()) * 1_000_000 + number * _DAY_US
    actions = draw.choice(len(ACTIONS), count, p=_SHARES)
    outcomes = draw.choice(len(OUTCOMES), count, p=(0.9, 0.07, 0.03))
    values = draw.integers(0, 4_000, count) / 4
    return pl.DataFrame(
        {
            "ts": pl.Series(begin_us + offsets).cast(pl.Datetime("us", "UTC")),
            "action": pl.Series([ACTIONS[place] for place in actions]),
            "outcome": pl.Series([OUTCOMES[place] for place in outcomes], dtype=pl.String),
            "actor": pl.Series([f"user {number}" for number in draw.integers(0, 40, count)]),
            "value": pl.Series(np.where(actions == 5, values, np.nan)).fill_nan(None),
        }
    )


def days(count: int, *, each: int = 1) -> Iterator[tuple[datetime, pl.DataFrame]]:
    """Yield the end of every `each` days, and about so many events of the two years in their order, `count` in all."""
    for first in range(0, DAYS, each):
        last = min(first + each, DAYS)
        frame = pl.concat([day(number, count // DAYS) for number in range(first, last)])
        yield BEGIN + timedelta(days=last), frame
