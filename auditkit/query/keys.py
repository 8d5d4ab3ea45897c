"""What events are grouped by: names of columns, paths in attrs and a caller's expressions, as columns beside them.

The added columns are called by place (`KEY` + number), so that a key may bear any name, that of a column too; stored
dictionaries stay dictionaries, which group fastest.
"""

from collections.abc import Iterable, Sequence

import polars as pl

from auditkit.errors import InvalidQueryError
from auditkit.query.frames import column, output_name, text_columns, with_plain_text

By = str | pl.Expr | Sequence[str | pl.Expr] | None
"""What to group by: names of columns, "attrs.…" paths, expressions, or a list of them."""

KEY = "\0key"


def parse_keys(by: By, schema: pl.Schema, *, taken: Iterable[str] = ()) -> dict[str, pl.Expr]:
    """Return name → expression of each key, checked against the columns there are and the names already `taken`.

    Raises `InvalidQueryError` for a key that is no column, path or expression for one column, and for a name that
    occurs twice.
    """
    listed = [] if by is None else [by] if isinstance(by, (str, pl.Expr)) else by
    if not isinstance(listed, Iterable):
        raise InvalidQueryError("by", by, "is neither a name, a Polars expression nor a list of them")
    keys: dict[str, pl.Expr] = {}
    for key in listed:
        if not isinstance(key, (str, pl.Expr)):
            raise InvalidQueryError("by", key, "is neither a name nor a Polars expression")
        name = output_name(key, argument="by") if isinstance(key, pl.Expr) else key
        if name in keys or name in taken:
            raise InvalidQueryError("by", name, "is the name of another column already")
        for root in key.meta.root_names() if isinstance(key, pl.Expr) else ():
            column(root, schema, argument="by")
        keys[name] = key if isinstance(key, pl.Expr) else column(key, schema, argument="by")
    return keys


def with_keys(events: pl.LazyFrame, keys: dict[str, pl.Expr]) -> pl.LazyFrame:
    """Add the keys' columns to the events; expressions see text as `String`."""
    named = [(expression, place) for place, expression in zip(key_columns(keys), keys.values(), strict=True)]
    stored = [key.alias(place) for key, place in named if key.meta.is_column()]
    made = [key.alias(place) for key, place in named if not key.meta.is_column()]
    if stored:
        events = events.with_columns(stored)
    if made:
        events = with_plain_text(events, made, lambda plain: plain.with_columns(made))
    return events


def key_columns(keys: dict[str, pl.Expr]) -> list[str]:
    """Return the names of the columns that `with_keys` adds, in the order of the keys."""
    return [f"{KEY}{place}" for place in range(len(keys))]


def renamed(keys: dict[str, pl.Expr]) -> list[pl.Expr]:
    """Return the added columns under the names that they leave with."""
    return [pl.col(place).alias(name) for place, name in zip(key_columns(keys), keys, strict=True)]


def as_callers_see(events: pl.LazyFrame, expressions: Sequence[pl.Expr]) -> pl.LazyFrame:
    """Make the text that a caller's own aggregations look at `String`; the keys stay what they are."""
    texts = text_columns(expressions, events.collect_schema())
    return events.with_columns(pl.col(name).cast(pl.String) for name in texts if not name.startswith(KEY))
