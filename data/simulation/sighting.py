"""One simulated event, when it happened and when the firm's trail got to know of it."""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Stockholm")
MONDAY = date(2026, 10, 19)
"""First day of the week; its Sunday has 25 hours, because clocks go back."""

_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An event before it has an `id`: instants in microseconds since 1970, `recorded_us` never before `ts_us`."""

    ts_us: int
    recorded_us: int
    actor: str | None
    action: str
    source: str
    resource: str | None = None
    outcome: str | None = "success"
    origin: str | None = None
    correlation: str | None = None
    value: float | None = None
    attrs: dict[str, object] = field(default_factory=dict)


def local_us(day: int, hour: float, *, fold: int = 0) -> int:
    """Return the instant of a wall-clock hour (13.5 is half past one) on day 0 (Monday) to 6 of the week."""
    naive = datetime.combine(MONDAY, time()) + timedelta(days=day, seconds=hour * 3600)
    moment = naive.replace(tzinfo=ZONE, fold=fold)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso(us: int, *, local: bool = False) -> str:
    """Return an instant as ISO 8601 text: UTC with a Z, or the firm's wall clock with its offset."""
    moment = _EPOCH + timedelta(microseconds=us)
    if local:
        return moment.astimezone(ZONE).isoformat(timespec="milliseconds")
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
