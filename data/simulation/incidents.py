"""Three incidents that an analyst should find, and three harmless things that look like one."""

from collections.abc import Iterator

from simulation.cast import LEAVER, ON_CALL, SPRAYED, TRAVELLER, people
from simulation.draw import Draw
from simulation.office import seen
from simulation.services import SYSTEMS
from simulation.sighting import Sighting, local_us

SPRAY_ORIGIN = "203.0.113.77"
STOLEN_ORIGIN = "203.0.113.78"
HOTEL = "203.0.113.140"


def spraying(seed: int) -> Iterator[Sighting]:
    """Yield Tuesday night: one password per round tried on every account, until one without second factor opens."""
    draw = Draw(seed, "spraying")
    accounts = [person.name for person in people()] + ["admin", "test", "scanner"]
    us = local_us(1, 22 + 41 / 60)
    opened = False
    for attempt in range(3):
        for place in range(len(accounts)):
            account = accounts[(place * 7 + attempt * 5) % len(accounts)]
            us += int(draw.uniform(14, 31) * 1_000_000)
            opened = attempt == 2 and account == SPRAYED
            yield seen(
                draw,
                us,
                source="idp",
                actor=account,
                action="auth.login",
                resource="app/imap",
                outcome="success" if opened else "failure",
                origin=SPRAY_ORIGIN,
                correlation="ses-5e1f00d1" if opened else None,
                attrs={"client": "imap", "mfa": False}
                if opened
                else {"client": "imap", "reason": "bad_password"},
            )
            if opened:
                break
        us += int(draw.uniform(300, 420) * 1_000_000)
    yield from privileges(draw, us)


def privileges(draw: Draw, us: int) -> Iterator[Sighting]:
    """Yield what the opened account is used for: looking around, a role for itself, a token for the backups."""
    common = {"actor": SPRAYED, "origin": SPRAY_ORIGIN, "correlation": "ses-5e1f00d1"}
    for name in ("groups", "roles", "role/global-admin", "service-accounts", "service-account/svc-backup"):
        us += int(draw.uniform(20, 80) * 1_000_000)
        yield seen(draw, us, source="idp", action="directory.read", resource=f"directory/{name}", **common)
    us += int(draw.uniform(200, 400) * 1_000_000)
    yield seen(
        draw,
        us,
        source="idp",
        action="role.grant",
        resource="role/global-admin",
        attrs={"grantee": SPRAYED, "before": ["helpdesk"], "after": ["helpdesk", "global-admin"]},
        **common,
    )
    us += int(draw.uniform(100, 200) * 1_000_000)
    yield seen(
        draw,
        us,
        source="idp",
        action="token.create",
        resource="service-account/svc-backup",
        attrs={"expires": None, "scopes": ["backup:write", "policy:write"]},
        **common,
    )


def leaver(seed: int) -> Iterator[Sighting]:
    """Yield Thursday night: somebody whose last day is Friday takes customers and contracts home."""
    draw = Draw(seed, "leaver")
    person = next(person for person in people() if person.name == LEAVER)
    yield seen(
        draw,
        local_us(0, 10.4),
        source="hr",
        actor="ulla.tegner",
        action="employment.end",
        resource=f"employee/{LEAVER}",
        origin="10.20.5.21",
        attrs={"last_day": "2026-10-23", "reason": "resigned"},
    )
    us = local_us(3, 21 + 38 / 60)
    common = {"actor": LEAVER, "origin": person.home, "correlation": "ses-1eaf2c09"}
    yield seen(draw, us, source="vpn", action="vpn.connect", resource="gateway/vpn-1", **common)
    us += 40_000_000
    yield seen(
        draw, us, source="idp", action="auth.login", resource="app/portal", attrs={"mfa": True}, **common
    )
    taken = 0.0
    for number in range(212):
        us += int(draw.gap(22) * 1_000_000) + 1_000_000
        export = number % 6 == 0
        value = float(draw.whole(240, 980)) if export else float(round(draw.heavy(14_000_000, 0.7)))
        taken += value * (900 if export else 1)
        yield seen(
            draw,
            us,
            source="crm" if export else "files",
            action="customer.export" if export else "file.read",
            resource=f"segment/all-{number // 6 + 1:02d}"
            if export
            else f"files/Försäljning/avtal/avtal-{1000 + number}.pdf",
            value=value,
            attrs={"unit": "rows" if export else "bytes"},
            **common,
        )
    us += 240_000_000
    yield seen(
        draw,
        us,
        source="vpn",
        action="vpn.disconnect",
        resource="gateway/vpn-1",
        value=float(round(taken)),
        attrs={"unit": "bytes"},
        **common,
    )
    yield seen(
        draw,
        local_us(4, 16.0),
        source="idp",
        actor=ON_CALL,
        action="account.disable",
        resource=f"employee/{LEAVER}",
        origin="10.20.6.22",
        attrs={"ticket": "ticket/5871"},
    )


def backups_deleted(seed: int) -> Iterator[Sighting]:
    """Yield Sunday night, in the second pass of the repeated hour: the stolen token deletes restore points."""
    draw = Draw(seed, "backups-deleted")
    common = {"actor": "svc-backup", "origin": STOLEN_ORIGIN, "correlation": "ses-bad70c3e"}
    us = local_us(6, 2 + 7 / 60, fold=1)
    yield seen(
        draw, us, source="idp", action="auth.token", resource="app/backup", attrs={"mfa": False}, **common
    )
    us += 35_000_000
    yield seen(
        draw,
        us,
        source="backup",
        action="backup.policy.update",
        resource="policy/restore-points",
        attrs={"before": {"keep": "30d"}, "after": {"keep": "1d"}},
        **common,
    )
    for age in range(1, 8):
        for system in SYSTEMS:
            us += int(draw.uniform(8, 30) * 1_000_000)
            yield seen(
                draw,
                us,
                source="backup",
                action="backup.delete",
                resource=f"backup/{system}/d-{age}",
                value=float(round(draw.heavy(9e10, 0.2))),
                attrs={"unit": "bytes"},
                **common,
            )
    us += 60_000_000
    yield seen(
        draw,
        us,
        source="idp",
        action="audit.retention.update",
        resource="policy/audit",
        outcome="failure",
        attrs={"reason": "no_permission", "wanted": {"keep": "1d"}},
        **common,
    )


def harmless(seed: int) -> Iterator[Sighting]:
    """Yield what looks alarming and is not: a journey, a night on call, an export with an approved ticket."""
    draw = Draw(seed, "harmless")
    common = {"actor": TRAVELLER, "origin": HOTEL, "correlation": "ses-7a3e11ed"}
    yield seen(
        draw,
        local_us(2, 19.2),
        source="idp",
        action="auth.login",
        resource="app/portal",
        attrs={"mfa": True, "client": "browser", "new_origin": True},
        **common,
    )
    arrived = local_us(2, 10.08)
    for number in range(46):  # written on a train without network: the trail hears of it on arrival
        us = local_us(2, 7.6 + number * 0.05 + draw.uniform(0, 0.04)) // 1000 * 1000
        yield Sighting(
            ts_us=us,
            recorded_us=arrived + number * 40_000,
            actor=TRAVELLER,
            action="file.write",
            source="files",
            resource=f"files/Försäljning/offerter/offert-{200 + number % 5}.docx",
            origin="laptop/offline",
            correlation="ses-7a3e11ec",
            value=float(round(draw.heavy(90_000, 0.4))),
            attrs={"unit": "bytes", "offline": True},
        )
    for number in range(9):
        yield seen(
            draw,
            local_us(5, 3.2 + number * 0.07),
            source="ci" if number % 3 else "tickets",
            actor=ON_CALL,
            action="deploy.run" if number % 3 else "ticket.update",
            resource="environment/production" if number % 3 else "ticket/5880",
            origin="198.51.100.41",
            correlation="chg-2031",
            attrs={"change": "CHG-2031", "on_call": True},
        )
    for number in range(6):
        yield seen(
            draw,
            local_us(2, 14.0 + number * 0.06),
            source="crm",
            actor="per.hallen",
            action="customer.export",
            resource=f"segment/quarter-{number + 1}",
            origin="10.20.3.22",
            value=float(draw.whole(300, 700)),
            attrs={"unit": "rows", "ticket": "ticket/5844", "approved_by": "birgit.falk"},
        )
