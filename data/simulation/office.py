"""What people do on an ordinary day: arrive, sign in, work with a lunch dip, go home; weekends are quiet."""

from collections.abc import Iterator
from dataclasses import dataclass

from simulation.cast import CUSTOMERS, FOLDERS, REPOSITORIES, TRAVELLER, Person, people
from simulation.draw import Draw
from simulation.sighting import Sighting, local_us

LAG_S = {
    "backup": 5.0,
    "ci": 0.8,
    "crm": 0.5,
    "directory": 20.0,
    "door": 2.0,
    "erp": 0.5,
    "files": 3.0,
    "git": 0.4,
    "hr": 0.5,
    "idp": 0.3,
    "mail": 4.0,
    "monitor": 0.2,
    "reports": 2.0,
    "tickets": 0.6,
    "vpn": 1.0,
}
"""How long each source takes to tell the trail, typically."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of work: what is done to what kind of thing, how often, and what is measured about it."""

    weight: float
    source: str
    action: str
    thing: str
    unit: str | None = None
    median: float = 0.0
    spread: float = 1.0
    refused: float = 0.003


_READ = Task(
    weight=5, source="files", action="file.read", thing="file", unit="bytes", median=180_000, refused=0.01
)
_WRITE = Task(weight=3, source="files", action="file.write", thing="file", unit="bytes", median=90_000)
_DELETE = Task(weight=0.2, source="files", action="file.delete", thing="file")
_MAIL = Task(weight=4, source="mail", action="mail.send", thing="mailbox", unit="bytes", median=40_000)
_CUSTOMER = Task(weight=9, source="crm", action="customer.read", thing="customer")
_CUSTOMER_NOTE = Task(weight=4, source="crm", action="customer.update", thing="customer")
_EXPORT = Task(weight=0.15, source="crm", action="customer.export", thing="customers", unit="rows", median=35)
_ORDER = Task(weight=3, source="erp", action="order.create", thing="order", unit="SEK", median=18_000)
_INVOICE = Task(weight=6, source="erp", action="invoice.create", thing="invoice", unit="SEK", median=14_000)
_APPROVE = Task(
    weight=5, source="erp", action="invoice.approve", thing="invoice", unit="SEK", median=14_000, refused=0.02
)
_PAYMENT = Task(weight=2, source="erp", action="payment.release", thing="payment", unit="SEK", median=30_000)
_FETCH = Task(weight=4, source="git", action="repo.fetch", thing="repository")
_PUSH = Task(
    weight=4, source="git", action="repo.push", thing="repository", unit="commits", median=2, spread=0.5
)
_TICKET = Task(weight=6, source="tickets", action="ticket.update", thing="ticket")
_CLOSE = Task(weight=3, source="tickets", action="ticket.close", thing="ticket", unit="seconds", median=5_400)
_EMPLOYEE = Task(weight=5, source="hr", action="employee.read", thing="employee", refused=0.0)
_LEAVE = Task(weight=1, source="hr", action="leave.approve", thing="employee")
_ADMIN = Task(weight=1, source="idp", action="account.update", thing="employee")
_STOCK = Task(
    weight=8, source="erp", action="stock.move", thing="article", unit="pieces", median=12, spread=0.7
)

WORK = {
    "sales": (_CUSTOMER, _CUSTOMER_NOTE, _EXPORT, _ORDER, _MAIL, _READ, _WRITE),
    "engineering": (_FETCH, _PUSH, _READ, _WRITE, _DELETE, _MAIL),
    "finance": (_INVOICE, _APPROVE, _PAYMENT, _READ, _WRITE, _MAIL),
    "support": (_TICKET, _CLOSE, _CUSTOMER, _READ, _MAIL),
    "people": (_EMPLOYEE, _LEAVE, _READ, _WRITE, _MAIL),
    "it": (_TICKET, _CLOSE, _ADMIN, _FETCH, _READ, _MAIL),
    "management": (_MAIL, _READ, _APPROVE),
    "warehouse": (_STOCK, _READ),
}
GAP_HOURS = {"sales": 0.13, "engineering": 0.17, "finance": 0.15, "support": 0.13, "warehouse": 0.16}


def busy(hour: float, day: int) -> float:
    """Return how busy a wall-clock hour is, from 0 to 1: lunch, two coffee breaks, Friday afternoon."""
    if 11.5 <= hour < 12.75:
        return 0.15
    if 9.5 <= hour < 9.75 or 14.75 <= hour < 15.0:
        return 0.4
    if day == 4 and hour >= 14.5:
        return 0.55
    return 1.0


def seen(draw: Draw, ts_us: int, *, source: str, **fields: object) -> Sighting:
    """Return a sighting on a whole millisecond that its source reports after its usual lag."""
    ts_us -= ts_us % 1000
    lag_us = int(LAG_S[source] * draw.uniform(0.5, 1.5) * 1_000_000)
    return Sighting(ts_us=ts_us, recorded_us=ts_us + lag_us, source=source, **fields)  # type: ignore[arg-type]


def measured(draw: Draw, task: Task) -> float | None:
    """Return the number that belongs to an event of this kind, or None where there is nothing to measure."""
    if task.unit is None:
        return None
    amount = draw.heavy(task.median, task.spread)
    return round(amount, 2) if task.unit == "SEK" else float(max(1, round(amount)))


def thing_of(draw: Draw, person: Person, kind: str) -> str:
    """Return the name of something of this kind that a person of this team would touch."""
    if kind == "file":
        folder = draw.pick(FOLDERS[person.team])
        stem = draw.pick(("rapport", "offert", "protokoll", "underlag", "ritning", "plan"))
        return f"files/{folder}/{stem}-{draw.whole(1, 160):03d}.{draw.pick(('xlsx', 'docx', 'pdf', 'csv'))}"
    if kind == "mailbox":
        if draw.chance(0.35):
            return f"mailto:kontakt@{draw.pick(CUSTOMERS).replace('/', '-')}.example"
        return f"mailto:{draw.pick(people()).mailbox}"
    if kind == "customer":
        return draw.pick(CUSTOMERS)
    if kind == "customers":
        return f"segment/{draw.pick(('north', 'south', 'marine', 'service', 'dormant'))}"
    if kind == "repository":
        return f"repo/{draw.pick(REPOSITORIES)}"
    if kind == "employee":
        return f"employee/{draw.pick(people()).name}"
    first, last = {
        "order": (40_100, 40_900),
        "invoice": (88_000, 88_900),
        "payment": (7_000, 7_400),
        "ticket": (5_200, 5_900),
        "article": (100, 340),
    }[kind]
    return f"{kind}/{draw.whole(first, last)}"


def build(draw: Draw, pushed: Sighting) -> Iterator[Sighting]:
    """Yield what the build server does after a push: one build, sometimes a deployment."""
    run = f"build-{draw.token(6)}"
    started = pushed.ts_us + int(draw.uniform(4, 30) * 1_000_000)
    seconds = round(draw.heavy(190, 0.5), 1)
    green = draw.chance(0.86)
    yield seen(
        draw,
        started + int(seconds * 1_000_000),
        source="ci",
        actor="svc-ci",
        action="build.run",
        resource=pushed.resource,
        outcome="success" if green else "failure",
        origin="10.20.30.7",
        correlation=run,
        value=seconds,
        attrs={"unit": "seconds", "pushed_by": pushed.actor, "jobs": draw.whole(3, 9)},
    )
    if green and draw.chance(0.25):
        yield seen(
            draw,
            started + int((seconds + draw.uniform(20, 90)) * 1_000_000),
            source="ci",
            actor="svc-ci",
            action="deploy.run",
            resource=f"environment/{draw.pick(('staging', 'staging', 'production'))}",
            origin="10.20.30.7",
            correlation=run,
            attrs={"approved_by": pushed.actor},
        )


def sign_in(draw: Draw, person: Person, us: int, origin: str, session: str) -> Iterator[Sighting]:
    """Yield a sign-in: a mistyped password now and then, the second factor, the session."""
    if draw.chance(0.05):
        yield seen(
            draw,
            us - int(draw.uniform(6, 40) * 1_000_000),
            source="idp",
            actor=person.name,
            action="auth.login",
            resource="app/portal",
            outcome="failure",
            origin=origin,
            attrs={"reason": "bad_password", "client": "browser"},
        )
    yield seen(
        draw,
        us,
        source="idp",
        actor=person.name,
        action="auth.login",
        resource="app/portal",
        origin=origin,
        correlation=session,
        attrs={"mfa": True, "client": "browser", "team": person.team},
    )


def work(
    draw: Draw, person: Person, start: float, end: float, day: int, common: dict[str, str]
) -> Iterator[Sighting]:
    """Yield a person's tasks between two wall-clock hours, and the builds their pushes start."""
    tasks = [(task.weight, task) for task in WORK[person.team]]
    mean = GAP_HOURS.get(person.team, 0.19)
    hour = start + draw.gap(mean)
    while hour < end:
        if draw.chance(busy(hour, day)):
            task = draw.weighted(tasks)
            refused = draw.chance(task.refused)
            attrs: dict[str, object] = {"team": person.team}
            value = None if refused else measured(draw, task)
            if refused:
                attrs["reason"] = draw.pick(("no_permission", "locked_by_other", "timeout"))
            elif task.unit:
                attrs["unit"] = task.unit
            event = seen(
                draw,
                local_us(day, hour),
                source=task.source,
                action=task.action,
                resource=thing_of(draw, person, task.thing),
                outcome="failure" if refused else "success",
                value=value,
                attrs=attrs,
                **common,
            )
            yield event
            if task is _PUSH and not refused:
                yield from build(draw, event)
        hour += draw.gap(mean)


def door(draw: Draw, person: Person, us: int) -> Sighting:
    """Return a badge held against the main entrance."""
    refused = draw.chance(0.02)
    return seen(
        draw,
        us,
        source="door",
        actor=None if refused else person.name,  # an unread badge names nobody
        action="door.open",
        resource="door/main-entrance",
        outcome="failure" if refused else "success",
        origin="reader/main-entrance",
        attrs={"reason": "badge_unread"} if refused else {},
    )


def workday(seed: int, person: Person, day: int) -> Iterator[Sighting]:
    """Yield one person's day; at weekends almost nobody has one."""
    draw = Draw(seed, "office", person.name, day)
    if day >= 5:
        if draw.chance(0.88):
            return
        start = draw.uniform(9.5, 19.0)
        end, remote = start + draw.uniform(0.4, 1.6), True
    else:
        if draw.chance(0.05) or (person.name == TRAVELLER and day == 2):
            return  # ill or on holiday; the traveller's Wednesday is told elsewhere
        start = draw.bell(person.early, 0.15)
        end, remote = start + draw.bell(8.7 if day < 4 else 7.8, 0.35), draw.chance(person.remote)
    origin = person.home if remote else person.desk
    session = f"ses-{draw.token()}"
    if not remote:
        yield door(draw, person, local_us(day, start))
    else:
        yield seen(
            draw,
            local_us(day, start),
            source="vpn",
            actor=person.name,
            action="vpn.connect",
            resource="gateway/vpn-1",
            origin=origin,
            attrs={"client": "wireguard"},
        )
    yield from sign_in(draw, person, local_us(day, start + draw.uniform(0.04, 0.15)), origin, session)
    common = {"actor": person.name, "origin": origin, "correlation": session}
    yield from work(draw, person, start + 0.15, end, day, common)
    yield seen(
        draw,
        local_us(day, end),
        source="idp",
        action="auth.logout",
        resource="app/portal",
        value=float(round((end - start) * 3600)),
        attrs={"unit": "seconds"},
        **common,
    )
