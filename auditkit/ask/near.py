"""What was near a question that no event answers: the same digits of another kind, another case, a word misspelt.

Each condition of a mapping is tried by itself; for one that holds for no event of the window, the values that do occur are
looked at: all of a column that is stored as a dictionary, those of the latest events otherwise.
"""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from msgspec import Struct

from auditkit.ask.occurring import occurring, occurring_paths
from auditkit.ask.range import range_
from auditkit.errors import AuditError, EmptyAnswerWarning
from auditkit.event import DICTIONARY_COLUMNS
from auditkit.text import LABEL_CHARACTERS, nearest, visible
from auditkit.trail.view import View
from auditkit.where import (
    LISTS,
    PREFIX,
    Where,
    checked_mapping,
    describe_where,
    read_glob,
)

_COMPARED = 1_000
_SHOWN = 5
_PACKAGE = __name__.partition(".")[0]


class Doubt(Struct, frozen=True, kw_only=True):
    """What is odd about a question, in words; `likely` where it seems not to say what was meant."""

    text: str
    likely: bool = False


def noted(
    answer: pl.DataFrame, view: View, start: object, end: object, *, where: Where, own: bool, tz: str | None
) -> pl.DataFrame:
    """Return an answer; where it is empty, warn the caller of doubts that are likely."""
    if answer.height or where is None or _are_ignored():
        return answer
    if likely := [
        doubt.text for doubt in doubts(view, start, end, where=where, own=own, tz=tz) if doubt.likely
    ]:
        warnings.warn("; ".join(likely), EmptyAnswerWarning, stacklevel=_callers_depth())
    return answer


def _are_ignored() -> bool:
    """Return whether warnings of this kind are ignored, so that there is no need to look for what was near."""
    for action, message, category, module, _line in warnings.filters:
        if message is None and module is None and issubclass(EmptyAnswerWarning, category):
            return action == "ignore"
    return False


def _callers_depth() -> int:
    """Return how many frames above its caller auditkit was called."""
    depth, frame = 0, sys._getframe(1)  # noqa: SLF001 -- as `warnings` does
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        depth, frame = depth + 1, frame.f_back
    return depth + 1


def doubts(
    view: View, start: object, end: object, *, where: Where, own: bool, tz: str | None
) -> Sequence[Doubt]:
    """Return what may be wrong with a question that no event answered; nothing for an expression."""
    if isinstance(where, pl.Expr):
        return []
    near = _Near(view=view, asked={"start": start, "end": end, "own": own, "tz": tz})
    try:
        return near.doubts(dict(checked_mapping(where or {})))
    except AuditError:  # events were pruned meanwhile, say; the answer stands
        return []


class _Near(Struct, frozen=True, kw_only=True):
    """Looks for what is near in the window of a question."""

    view: View
    asked: dict[str, Any]

    def doubts(self, where: dict[str, Any]) -> list[Doubt]:
        """Return the doubts of each condition that holds for no event, or of all of them together."""
        if not self._events({}, ["seq"], 1).height:
            return self._outside()
        lonely = [key for key, value in where.items() if not self._events({key: value}, ["seq"], 1).height]
        if not lonely and len(where) > 1:
            return [Doubt(text="each condition holds for some event here, all of them together for none")]
        return [self._of(key, where[key]) for key in lonely]

    def _events(
        self, where: Where, columns: Sequence[str], limit: int, *, descending: bool = True
    ) -> pl.DataFrame:
        return range_(
            self.view, where=where, columns=columns, limit=limit, descending=descending, **self.asked
        )

    def _outside(self) -> list[Doubt]:
        whole = _Near(view=self.view, asked={**self.asked, "start": None, "end": None})
        last = whole._events({}, ["ts"], 1)["ts"]
        if last.is_empty():
            return [Doubt(text="the trail shows no events at all")]
        first = whole._events({}, ["ts"], 1, descending=False)["ts"]
        return [Doubt(text=f"no event lies in this window; the trail's are from {first[0]} to {last[0]}")]

    def _of(self, key: str, value: object) -> Doubt:
        said = f"{visible(describe_where({key: value}))} in no event here"
        found = occurring(self.view, key, self.asked)
        if isinstance(value, Mapping):
            said = f"no event here is left where {visible(describe_where({key: value}))}"
            there = [] if found is None or found.is_empty() else [f"there are {_listed(found)}"]
            return Doubt(text="; ".join([said, *there]))
        if found is None:
            return Doubt(text=said)
        if found.is_empty():
            return (
                self._without_path(key, said)
                if key.startswith(PREFIX)
                else Doubt(text=f"{said}: it is always missing")
            )
        near = found.filter(pl.any_horizontal(_alike(value)))
        likely = near.height > 0 or self._is_unheard_of(key, value)
        if likely and near.is_empty():
            near = found.filter(pl.col("text").is_in(_misspelt(value, found)))
        shown = f"near it: {_listed(near)}" if near.height else f"there are {_listed(found)}"
        return Doubt(text=f"{said}; {shown}", likely=likely)

    def _is_unheard_of(self, key: str, value: object) -> bool:
        """Return whether what is asked of a dictionary occurs nowhere in the trail."""
        whole = _Near(view=self.view, asked={**self.asked, "start": None, "end": None})
        return (
            key in DICTIONARY_COLUMNS
            and any(item is not None for item in _items(value))
            and whole._events({key: value}, ["seq"], 1).is_empty()
        )

    def _without_path(self, key: str, said: str) -> Doubt:
        """Return the doubt of a path that leads nowhere: the paths that there are."""
        paths = occurring_paths(self.view, self.asked)
        if near := nearest(key.removeprefix(PREFIX), paths):
            question = f"did you mean {visible(PREFIX + near[0])!r}?"
            return Doubt(text=f"{said}: none has {visible(key)}; {question}", likely=True)
        top = [path for path in paths if "." not in path][: 2 * _SHOWN]
        return Doubt(
            text=f"{said}: none has {visible(key)}"
            + (f"; there are {', '.join(map(visible, top))}" if top else "")
        )


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, LISTS) else [value]


def _alike(value: object) -> list[pl.Expr]:
    """Return, for each thing asked, whether a text is the same but for its case, its edges, and what kind of value it is."""
    text = pl.col("text")
    terms = [pl.lit(value=False)]
    for item in _items(value):
        pattern, literal = read_glob(item) if isinstance(item, str) and item is value else (None, item)
        if pattern is not None:
            terms.append(text.str.contains(f"(?i){pattern}"))
        elif literal is not None:
            terms.append(text.str.strip_chars().str.to_lowercase() == _spelled(literal).strip().lower())
    return terms


def _spelled(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _misspelt(value: object, found: pl.DataFrame) -> list[str]:
    """Return the frequent texts that are near to what is asked."""
    texts = found.filter("string")["text"].head(_COMPARED).to_list()
    return [
        near for item in _items(value) if isinstance(item, str) for near in nearest(item, texts, n=_SHOWN)
    ]


def _listed(found: pl.DataFrame) -> str:
    """Return values as JSON writes them, with how often they occur."""
    shown = [
        f"{visible(json.dumps(text, ensure_ascii=False) if string else text)[:LABEL_CHARACTERS]} ({count:,})"
        for text, string, count in found.head(_SHOWN).select("text", "string", "count").iter_rows()
    ]
    more = found.height - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
