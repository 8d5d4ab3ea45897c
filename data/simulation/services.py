"""What the firm's services do by themselves, day and night: checks, synchronisation, mail, backups, reports."""

from collections.abc import Iterator

from simulation.cast import CUSTOMERS, people
from simulation.draw import Draw
from simulation.office import busy, seen
from simulation.sighting import Sighting, local_us

BACKUP_HOST = "10.20.30.5"
SYSTEMS = ("erp", "files", "crm")
_MINUTE_US = 60_000_000


def every(first_us: int, end_us: int, minutes: int) -> Iterator[int]:
    """Yield instants that many minutes apart, the first one included."""
    yield from range(first_us, end_us, minutes * _MINUTE_US)


def monitor(seed: int) -> Iterator[Sighting]:
    """Yield the health checks: two targets every ten minutes, slower when the office is busy."""
    draw = Draw(seed, "monitor")
    for us in every(local_us(0, 0), local_us(7, 0), 10):
        for target in ("erp", "portal"):
            down = draw.chance(0.004)
            yield seen(
                draw,
                us + int(draw.uniform(0, 900) * 1000),
                source="monitor",
                actor="svc-monitor",
                action="check.run",
                resource=f"system/{target}",
                outcome="failure" if down else "success",
                origin="10.20.30.2",
                value=10_000.0 if down else round(draw.heavy(85, 0.4), 1),
                attrs={"unit": "milliseconds"},
            )


def synchronisation(seed: int) -> Iterator[Sighting]:
    """Yield the hand-over of orders between webshop and ERP, every quarter of an hour."""
    draw = Draw(seed, "erp-sync")
    for number, us in enumerate(every(local_us(0, 0), local_us(7, 0), 15)):
        failed = draw.chance(0.01)
        yield seen(
            draw,
            us + int(draw.uniform(1, 8) * 1_000_000),
            source="erp",
            actor="svc-erp-sync",
            action="sync.run",
            resource="queue/webshop-orders",
            outcome="failure" if failed else "success",
            origin="10.20.30.6",
            correlation=f"sync-{number:04d}",
            value=None if failed else float(draw.whole(0, 24)),
            attrs={"reason": "timeout"} if failed else {"unit": "rows"},
        )


def mail(seed: int) -> Iterator[Sighting]:
    """Yield incoming mail: many by day, few at night, some of it turned away."""
    draw = Draw(seed, "mail-gateway")
    inboxes = [person.mailbox for person in people()]
    for day in range(7):
        hour = draw.gap(0.04)
        while hour < 24:
            open_hours = 7 <= hour < 18 and day < 5
            if draw.chance(busy(hour, day) * 0.9 if open_hours else 0.07):
                spam = draw.chance(0.12)
                yield seen(
                    draw,
                    local_us(day, hour),
                    source="mail",
                    actor="svc-mail-gateway",
                    action="mail.deliver",
                    resource=f"mailto:{draw.pick(inboxes)}",
                    outcome="rejected" if spam else "success",
                    origin=f"mx.{draw.pick(CUSTOMERS).replace('/', '-')}.example",
                    value=float(round(draw.heavy(32_000, 1.1))),
                    attrs={
                        "unit": "bytes",
                        "spam_score": round(draw.uniform(6, 20) if spam else draw.uniform(0, 4), 1),
                    },
                )
            hour += draw.gap(0.04)


def backups(seed: int) -> Iterator[Sighting]:
    """Yield a small backup of each system every hour and the nightly check of a restore."""
    draw = Draw(seed, "backup")
    for number, us in enumerate(every(local_us(0, 0.25), local_us(7, 0), 60)):
        for system in SYSTEMS:
            yield seen(
                draw,
                us + int(draw.uniform(0, 120) * 1_000_000),
                source="backup",
                actor="svc-backup",
                action="backup.run",
                resource=f"backup/{system}/h{number:03d}",
                origin=BACKUP_HOST,
                correlation=f"backup-{number:03d}",
                value=float(round(draw.heavy(6e8, 0.3))),
                attrs={"unit": "bytes"},
            )
    for day in range(7):
        lost = day == 6  # the restore points were deleted two hours before, see incidents
        yield seen(
            draw,
            local_us(day, 4.0 + draw.uniform(0, 0.05)),
            source="backup",
            actor="svc-backup",
            action="backup.verify",
            resource="backup/erp",
            outcome="failure" if lost else "success",
            origin=BACKUP_HOST,
            value=None if lost else float(round(draw.heavy(700, 0.1))),
            attrs={"reason": "no_restore_point"} if lost else {"unit": "seconds"},
        )


def housekeeping(seed: int) -> Iterator[Sighting]:
    """Yield morning reports and the directory's nightly comparison with the personnel system."""
    draw = Draw(seed, "housekeeping")
    for day in range(7):
        for hour, name in ((5.5, "sales"), (5.75, "stock"), (6.0, "receivables")):
            yield seen(
                draw,
                local_us(day, hour + draw.uniform(0, 0.03)),
                source="reports",
                actor="svc-reports",
                action="report.run",
                resource=f"report/{name}",
                origin="10.20.30.8",
                value=round(draw.heavy(45, 0.3), 1),
                attrs={"unit": "seconds", "notebook": f"{name}.ipynb"},
            )
        for person in people():
            if draw.chance(0.5):
                yield seen(
                    draw,
                    local_us(day, 1.5 + draw.uniform(0, 0.1)),
                    source="directory",
                    actor="svc-directory",
                    action="account.check",
                    resource=f"employee/{person.name}",
                    origin="10.20.30.3",
                )
