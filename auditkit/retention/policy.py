"""The retention policy: how long events are kept, as declared once for a trail.

A policy is stored as an ordered list of rules, `[[{"action": "*"}, "90d"]]`, so that what is written today can
still be read when rules per action exist.  It never looks at a clock.
"""

from datetime import timedelta

import msgspec
from msgspec import Struct

from auditkit.errors import FormatError, shorten
from auditkit.timerange import Duration, parse_keep_time


class Policy(Struct, frozen=True, kw_only=True):
    """Keep events for `keep` before the horizon, or for ever where it is `None`."""

    keep: Duration | None = None

    def cutoff_us(self, horizon_us: int | None) -> int | None:
        """Return the moment before which events are expired (exclusive, microseconds), `None` for never."""
        if self.keep is None or horizon_us is None:
            return None
        return self.keep.before(horizon_us, "UTC")

    @property
    def spec(self) -> str:
        """The policy as the catalog stores it."""
        rules = [] if self.keep is None else [[{"action": "*"}, self.keep.text]]
        return msgspec.json.encode(rules).decode()

    def __str__(self) -> str:
        return "keep for ever" if self.keep is None else f"keep {self.keep.text}"


def declare_policy(retention: str | timedelta | Policy | None) -> Policy:
    """Return the policy that a user declared: a duration such as `"90d"` or `"7 years"`, or `None` for ever.

    >>> str(declare_policy("90d"))
    'keep 90d'
    >>> declare_policy(None).keep is None
    True
    """
    if isinstance(retention, Policy):
        return retention
    if retention is None:
        return Policy()
    return Policy(keep=parse_keep_time(retention, name="retention"))


def read_policy(spec: str) -> Policy:
    """Return the policy that the catalog or an event of the trail holds."""
    try:
        rules = msgspec.json.decode(spec, type=list[tuple[dict[str, str], str | None]])
    except msgspec.DecodeError as exc:
        raise FormatError(
            f"retention policy does not read (found {shorten(spec)}); use a newer auditkit"
        ) from exc
    if not rules:
        return Policy()
    if len(rules) > 1 or rules[0][0] != {"action": "*"}:
        raise FormatError(
            f"retention policy with rules per action (found {shorten(spec)}); use a newer auditkit"
        )
    try:
        return declare_policy(rules[0][1])
    except ValueError as exc:  # one that keeps nothing would hide and remove everything
        raise FormatError(f"retention policy does not read (found {shorten(spec)})") from exc
