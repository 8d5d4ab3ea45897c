"""The retention policy: how long events are kept, as declared once for a trail; an ordered list of rules.

The first rule that matches an event says how long it is kept; without one it is kept for ever.  The rule `"*"` does not
name the trail's own events: only a rule with their source does.  A policy is stored as a list of conditions and keep
times, `[[{"action": "auth.*"}, "7y"], [{"action": "*"}, "90d"]]`, and never looks at a clock.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
import polars as pl
from msgspec import Struct

from auditkit.errors import AuditError, FormatError, InvalidArgumentError, shorten
from auditkit.event import OWN_SOURCE
from auditkit.timerange import Duration, parse_keep_time
from auditkit.where import Condition, conditions, describe_where

RULE_COLUMNS = ("action", "source", "outcome")
"""The columns that rules look at: the catalog knows their combinations in each segment."""
MOST_RULES = 100
MOST_CHARACTERS = 1_000
"""What a condition of a rule may have; a pattern becomes a regular expression."""
FOR_EVER = "forever"
IS_OWN = pl.col("source").cast(pl.String).eq_missing(OWN_SOURCE)
"""Whether an event is one of the trail's own."""

Value: TypeAlias = str | tuple[str | None, ...] | None
Keep: TypeAlias = str | timedelta | None
RetentionRules: TypeAlias = (
    str | timedelta | Mapping[str, Keep] | Sequence[tuple[Mapping[str, Any], Keep]] | None
)
"""What a policy may be declared as: a duration, durations by patterns of actions, or by conditions, in order."""


class Rule(Struct, frozen=True, kw_only=True):
    """Events that match are kept for `keep` before the horizon, or for ever where it is `None`."""

    where: tuple[tuple[str, Value], ...]
    keep: Duration | None

    @property
    def is_general(self) -> bool:
        """Whether it matches every producers' event."""
        return self.where == (("action", "*"),)

    @property
    def names_own(self) -> bool:
        """Whether it names the trail's own events, by their source."""
        source = dict(self.where).get("source")
        return source == OWN_SOURCE or (isinstance(source, tuple) and OWN_SOURCE in source)

    @property
    def conditions(self) -> Sequence[Condition]:
        """What an event must fulfil, one condition for a column; none where it matches every event."""
        return [] if self.is_general else _conditions(self.where)

    @property
    def expression(self) -> pl.Expr:
        """Return whether an event is one that the rule names, whatever rules come before it."""
        terms = [condition.expression for condition in self.conditions]
        return pl.all_horizontal(pl.lit(value=True), *terms, *([] if self.names_own else [~IS_OWN]))

    def __str__(self) -> str:
        keep = FOR_EVER if self.keep is None else self.keep.text
        if len(self.where) == 1 and self.where[0][0] == "action" and isinstance(self.where[0][1], str):
            return f"{self.where[0][1]} {keep}"
        return f"{describe_where(_given(self.where))} {keep}"


class Policy(Struct, frozen=True, kw_only=True):
    """Rules in order: the first that matches an event says how long it is kept; no match is for ever."""

    rules: tuple[Rule, ...] = ()

    @property
    def expires(self) -> bool:
        """Whether there is anything that it does not keep for ever."""
        return any(rule.keep is not None for rule in self.rules)

    @property
    def keep(self) -> Duration | None:
        """How long the policy keeps what it keeps longest; `None` for ever."""
        horizon = 0
        kept = [rule.keep for rule in self.rules]
        if not self.is_complete or None in kept:
            return None
        return min((one for one in kept if one is not None), key=lambda one: one.before(horizon, "UTC"))

    @property
    def is_complete(self) -> bool:
        """Whether a rule matches every producers' event."""
        return any(rule.is_general for rule in self.rules)

    def cutoffs_us(self, horizon_us: int | None) -> tuple[int | None, ...]:
        """Return for each rule the moment before which its events are expired (exclusive), `None` for never."""
        if horizon_us is None:
            return (None,) * len(self.rules)
        return tuple(
            None if rule.keep is None else rule.keep.before(horizon_us, "UTC") for rule in self.rules
        )

    def cutoff_us(self, horizon_us: int | None) -> int | None:
        """Return the moment from which on nothing is expired, whichever rule it goes by; `None` where nothing is at all."""
        return max((us for us in self.cutoffs_us(horizon_us) if us is not None), default=None)

    @property
    def place(self) -> pl.Expr:
        """Return which rule an event goes by: its place in the list, behind the last where none matches."""
        found = pl.lit(len(self.rules), dtype=pl.Int16)
        for place, rule in reversed(list(enumerate(self.rules))):
            found = pl.when(rule.expression).then(pl.lit(place, dtype=pl.Int16)).otherwise(found)
        return found

    @property
    def spec(self) -> str:
        """The policy as the catalog stores it."""
        rules = [[dict(rule.where), None if rule.keep is None else rule.keep.text] for rule in self.rules]
        return msgspec.json.encode(rules).decode()

    def __repr__(self) -> str:
        return f"<Policy: {self}>"

    def __str__(self) -> str:
        if not self.rules:
            return "keep for ever"
        if len(self.rules) == 1 and self.rules[0].is_general:
            keep = self.rules[0].keep
            return "keep for ever" if keep is None else f"keep {keep.text}"
        text = ", ".join(str(rule) for rule in self.rules)
        return f"keep {text}" if self.is_complete else f"keep {text}, all else {FOR_EVER}"


def declare_policy(retention: "RetentionRules | Policy") -> Policy:
    """Return the policy that a user declared: a duration such as `"90d"`, rules in order, or `None` for ever.

    >>> str(declare_policy("90d"))
    'keep 90d'
    >>> str(declare_policy({"auth.*": "7y", "*": "90d"}))
    'keep auth.* 7y, * 90d'
    >>> declare_policy(None).expires
    False
    """
    if isinstance(retention, Policy):
        return retention
    if retention is None or isinstance(retention, str | timedelta):
        given: list[tuple[Any, Any]] = [] if retention is None else [({"action": "*"}, retention)]
    elif isinstance(retention, Mapping):
        given = [({"action": pattern}, keep) for pattern, keep in retention.items()]
    elif isinstance(retention, list | tuple) and all(
        isinstance(one, list | tuple) and len(one) == 2 for one in retention
    ):
        given = [(one[0], one[1]) for one in retention]
    else:
        reason = "is neither a duration such as '90d', nor rules such as {'auth.*': '7y', '*': '90d'}"
        raise InvalidArgumentError("retention", retention, reason)
    if len(given) > MOST_RULES:
        raise InvalidArgumentError("retention", f"{len(given):,} rules", f"has more than {MOST_RULES} rules")
    return Policy(rules=tuple(Rule(where=_checked(where), keep=_keep_time(keep)) for where, keep in given))


def read_policy(spec: str) -> Policy:
    """Return the policy that the catalog or an event of the trail holds."""
    try:
        return _read(spec)
    except (msgspec.DecodeError, RecursionError, AuditError, ValueError) as exc:
        # one that keeps nothing would hide and remove everything
        raise FormatError(
            f"retention policy: does not read (found {shorten(spec)}); use a newer auditkit"
        ) from exc


@lru_cache(maxsize=64)
def _read(spec: str) -> Policy:
    return declare_policy(msgspec.json.decode(spec, type=list[tuple[dict[str, Any], str | None]]))


def _keep_time(keep: object) -> Duration | None:
    if keep is None or keep == FOR_EVER:
        return None
    if not isinstance(keep, str | timedelta):
        raise InvalidArgumentError("retention", keep, "is not a duration such as '90d'")
    return parse_keep_time(keep, name="retention")


def _checked(where: object) -> tuple[tuple[str, Value], ...]:
    """Return the conditions of a rule in a form that can be compared and stored."""
    if not isinstance(where, Mapping) or not where:
        raise InvalidArgumentError("retention", where, "is no condition such as {'action': 'auth.*'}")
    found: list[tuple[str, Value]] = []
    for column, value in where.items():
        if column not in RULE_COLUMNS:
            error = InvalidArgumentError("retention", column, "is no column that rules look at")
            error.add_note(f"rules look at {', '.join(RULE_COLUMNS)}")
            raise error
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not all(one is None or isinstance(one, str) for one in values):
            raise InvalidArgumentError(f"retention {column}", value, "is neither text nor a list of texts")
        if sum(len(one or "") for one in values) > MOST_CHARACTERS:
            reason = f"has more than {MOST_CHARACTERS:,} characters"
            raise InvalidArgumentError(f"retention {column}", value, reason)
        found.append((column, values if isinstance(value, list | tuple) else value))
    checked = tuple(found)
    _conditions(checked)
    return checked


@lru_cache(maxsize=1024)
def _conditions(where: tuple[tuple[str, Value], ...]) -> Sequence[Condition]:
    return conditions(_given(where), dict.fromkeys(RULE_COLUMNS, pl.String()))


def _given(where: tuple[tuple[str, Value], ...]) -> dict[str, Any]:
    return {column: list(value) if isinstance(value, tuple) else value for column, value in where}
