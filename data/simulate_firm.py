"""Write a simulated week of a small firm as JSON lines, in the order in which its trail got to know of the events.

    python data/simulate_firm.py --seed 20261019 --output data/firm-week.jsonl.gz

Everything is invented.  Equal seeds give equal lines.  Only the standard library is used.
"""

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simulation import incidents, services
from simulation.cast import people
from simulation.office import workday
from simulation.sighting import Sighting, iso, local_us

SEED = 20261019
NUMBERED = frozenset({"idp", "erp", "mail", "tickets"})
"""Sources that promise a unique number for each event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One event as the trail takes it, and the instant (microseconds since 1970) at which it does."""

    recorded_us: int
    event: dict[str, object]


def sightings(seed: int) -> list[Sighting]:
    """Return the whole week in the order of recording, nothing before its first or after its last midnight."""
    found = [event for person in people() for day in range(7) for event in workday(seed, person, day)]
    for part in (
        services.monitor,
        services.synchronisation,
        services.mail,
        services.backups,
        services.housekeeping,
        incidents.spraying,
        incidents.leaver,
        incidents.backups_deleted,
        incidents.harmless,
    ):
        found.extend(part(seed))
    start, end = local_us(0, 0), local_us(7, 0)
    week = [event for event in found if start <= event.ts_us and event.recorded_us < end]
    return sorted(week, key=lambda event: (event.recorded_us, event.source, event.actor or "", event.action))


def arrivals(seed: int) -> list[Arrival]:
    """Return the events as mappings for `Trail.extend`; `ts` is ISO 8601 text, absent fields are left out."""
    counters: Counter[str] = Counter()
    result = []
    for event in sightings(seed):
        counters[event.source] += 1
        number = f"{event.source}-{counters[event.source]:06d}" if event.source in NUMBERED else None
        fields: dict[str, object] = {
            "ts": iso(event.ts_us, local=event.source == "door"),  # door controllers write their wall clock
            "actor": event.actor,
            "action": event.action,
            "resource": event.resource,
            "outcome": event.outcome,
            "source": event.source,
            "origin": event.origin,
            "correlation": event.correlation,
            "id": number,
            "value": event.value,
        }
        kept = {name: value for name, value in fields.items() if value is not None}
        result.append(
            Arrival(
                recorded_us=event.recorded_us, event={**kept, "attrs": {"simulated": True, **event.attrs}}
            )
        )
    return result


def json_lines(events: Iterable[dict[str, object]]) -> bytes:
    """Return the events as UTF-8 JSON lines."""
    return "".join(
        json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n" for event in events
    ).encode()


def write(path: Path, seed: int) -> int:
    """Write the week to `path` (gzip without time stamp where it ends in .gz); return the number of events."""
    week = arrivals(seed)
    content = json_lines(arrival.event for arrival in week)
    path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0) if path.suffix == ".gz" else content)
    return len(week)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "firm-week.jsonl.gz")
    options = parser.parse_args()
    count = write(options.output, options.seed)
    sys.stdout.write(f"{count} simulated events in {options.output}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
