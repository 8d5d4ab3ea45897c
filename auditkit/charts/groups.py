"""Which groups a chart shows by name and in which colour, and which it folds into one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import polars as pl

from auditkit.charts.figure import BLUE, GREY, PALETTE, REST, VERMILLION
from auditkit.text import MISSING, label, others

_MEANING = {"success": BLUE, "failure": VERMILLION, MISSING: GREY}
_TAKEN = frozenset(
    [
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
    ]
)
ALL = "events"
"""The name of the one group of a chart that divides by nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The groups of a frame: `row` has the name for each of its rows, `names` are all of them, largest first.

    `rest` is the last of the names where it stands for all that did not fit, else None.
    """

    row: pl.Series
    names: tuple[str, ...]
    colours: tuple[str, ...]
    rest: str | None

    @property
    def named(self) -> tuple[str, ...]:
        """The names without the rest."""
        return self.names if self.rest is None else self.names[:-1]


def counted(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that count something: `downsample` fills empty buckets with null or zero."""
    return frame.filter(pl.col("count") > 0)


def fold(frame: pl.DataFrame, column: str | None, *, most: int) -> Groups:
    """Group the rows of a frame by a column's visible text; what is beyond the `most` with the largest `count`,
    taken together, is the rest.  Without a column there is one group.
    """
    if column is None:
        frame, column = frame.select("count", group=pl.lit(ALL)), "group"
    sums = frame.group_by(column).agg(pl.col("count").sum())
    labels = [unclaimed(label(value)) for value in sums[column].to_list()]
    totals: dict[str, int] = {}
    for name, count in zip(labels, sums["count"].to_list(), strict=True):
        totals[name] = totals.get(name, 0) + count
    names = sorted(totals, key=lambda name: (-totals[name], name))
    kept = names[:most]
    rest = others(len(names) - most) if len(names) > most else None
    shown = kept if rest is None else [*kept, rest]
    known = set(kept)
    folded = sums.select(
        pl.col(column).alias("value"),
        pl.Series("group", [name if name in known else rest for name in labels], dtype=pl.String),
    )
    row = frame.select(pl.col(column).alias("value")).join(
        folded, on="value", how="left", nulls_equal=True, maintain_order="left"
    )["group"]
    return Groups(
        row=row,
        names=tuple(shown),
        colours=tuple(_colours(shown, rest)),
        rest=rest,
    )


def unclaimed(text: str) -> str:
    """Return the name of a group, in quotes where Vega, which keeps groups in objects, has something by that name."""
    return f'"{text}"' if text in _TAKEN else text


def _colours(names: Sequence[str], rest: str | None) -> Iterator[str]:
    meaning = _MEANING if rest is None else {**_MEANING, rest: REST}
    taken = {meaning.get(name) for name in names}
    free = cycle([colour for colour in PALETTE if colour not in taken])
    return (meaning.get(name) or next(free) for name in names)
