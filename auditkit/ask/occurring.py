"""What occurs in a trail: the values of a key and the paths of attrs, of all events where that is cheap, else of the latest."""

from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl

from auditkit.ask.group import group_by
from auditkit.ask.range import range_
from auditkit.event import DICTIONARY_COLUMNS
from auditkit.trail.view import View
from auditkit.where import ATTRS, PREFIX, parse_path

LATEST = 20_000
"""So many events are looked at for what is no dictionary."""
_DECODED, _DECODED_BYTES = 10_000, 16 << 20
"""So many attrs, and so much of them, are decoded for the paths that there are."""
_DEEP = 6
_MOST_PATHS = 2_000


def occurring(view: View, key: str, asked: dict[str, Any], *, whole: bool = True) -> pl.DataFrame | None:
    """Return the values of a key in a window as `text`, whether each is a `string`, and its `count`; None for other kinds.

    Those of a column that is stored as a dictionary are counted in all events, or, without `whole`, in the latest.
    """
    if key in DICTIONARY_COLUMNS and whole:
        found = group_by(view, key, every=None, where=None, aggs="count", tier=None, **asked)
        found = found.select(pl.col(key).alias("text"), pl.lit(value=True).alias("string"), "count")
    elif view.handle.schema.columns.get(key, None) == pl.String and key != ATTRS:
        found = latest(view, key, asked, LATEST).select(
            pl.col(key).alias("text"), pl.lit(value=True).alias("string")
        )
        found = found.group_by("text", "string").agg(pl.len().alias("count"))
    elif key.startswith(PREFIX):
        path = parse_path(key.removeprefix(PREFIX))
        texts = path.expression().alias("text"), path.string().is_not_null().alias("string")
        found = latest(view, ATTRS, asked, LATEST).select(texts)
        found = found.group_by("text", "string").agg(pl.len().alias("count"))
    else:
        return None
    return found.drop_nulls("text").sort("count", "text", descending=[True, False])


def occurring_paths(view: View, asked: dict[str, Any]) -> list[str]:
    """Return the paths that lead into the latest attrs, in order."""
    texts = latest(view, ATTRS, asked, _DECODED)[ATTRS].drop_nulls()
    texts = texts.filter(texts.str.len_bytes().cum_sum() <= _DECODED_BYTES)
    return sorted({path for text in texts for path in _paths(text)})[:_MOST_PATHS]


def latest(view: View, column: str, asked: dict[str, Any], limit: int) -> pl.DataFrame:
    """Return a column of the latest events of a window."""
    return range_(view, where=None, columns=[column], limit=limit, descending=True, **asked)


def _paths(text: str) -> Iterator[str]:
    """Yield the paths of an object, level by level, as far as they are looked for."""
    level: list[tuple[str, object]] = [("", msgspec.json.decode(text))]
    for _ in range(_DEEP):
        inner = [(path, value.items()) for path, value in level if isinstance(value, dict)]
        level = [(f"{path}.{key}" if path else key, value) for path, items in inner for key, value in items]
        yield from (path for path, _value in level)
