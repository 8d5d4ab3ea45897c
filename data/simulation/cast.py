"""The cast: 33 people and 7 services of the invented firm Tallbacken Instruments.

Nobody here exists; addresses are from the documentation ranges (RFC 5737) and private networks.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who works at the firm; `home` is the address they work from when not in the office."""

    name: str
    team: str
    desk: str
    home: str
    early: float
    remote: float

    @property
    def mailbox(self) -> str:
        """The address other people write to."""
        return f"{self.name}@tallbacken.example"


TEAMS = {
    "sales": [
        "hedda.ekman",
        "viktor.sand",
        "maja.lindh",
        "ali.rahimi",
        "elin.kvist",
        "jonas.frid",
        "sofia.berg",
    ],
    "engineering": [
        "astrid.holm",
        "nils.aspen",
        "priya.nair",
        "emil.rask",
        "tuva.strand",
        "marek.nowak",
        "lova.dahl",
        "hugo.vik",
        "ines.costa",
    ],
    "finance": ["karin.boman", "per.hallen", "leila.amini", "gustav.rydh"],
    "support": ["wilma.ask", "omar.said", "tilde.gran", "anton.moberg", "freja.lund"],
    "people": ["ulla.tegner", "sami.korpi"],
    "it": ["oskar.lilja", "ebba.nyman", "dragan.ilic"],
    "management": ["birgit.falk", "tomas.edlund"],
    "warehouse": ["rolf.astor"],
}

SERVICES = (
    "svc-backup",
    "svc-ci",
    "svc-erp-sync",
    "svc-mail-gateway",
    "svc-monitor",
    "svc-reports",
    "svc-directory",
)

LEAVER = "hedda.ekman"
SPRAYED = "oskar.lilja"
TRAVELLER = "viktor.sand"
ON_CALL = "ebba.nyman"

CUSTOMERS = tuple(f"customer/{number}" for number in range(1001, 1241))
REPOSITORIES = ("gauge-firmware", "calibration", "webshop", "erp-adapters", "infrastructure", "handbook")
FOLDERS = {
    "sales": ("Försäljning/offerter", "Försäljning/avtal", "Gemensamt/mallar"),
    "engineering": ("Teknik/ritningar", "Teknik/mätningar", "Gemensamt/mallar"),
    "finance": ("Ekonomi/bokslut", "Ekonomi/löner", "Ekonomi/fakturor"),
    "support": ("Support/ärenden", "Support/manualer", "Gemensamt/mallar"),
    "people": ("Personal/anställningar", "Personal/policyer"),
    "it": ("IT/drift", "IT/licenser", "Gemensamt/mallar"),
    "management": ("Ledning/styrelse", "Ekonomi/bokslut", "Gemensamt/mallar"),
    "warehouse": ("Lager/inventering", "Gemensamt/mallar"),
}


def people() -> list[Person]:
    """Return everybody, always in the same order and with the same desk and home."""
    found = []
    for shelf, (team, names) in enumerate(TEAMS.items()):
        for place, name in enumerate(names):
            number = len(found)
            found.append(
                Person(
                    name=name,
                    team=team,
                    desk=f"10.20.{shelf + 1}.{place + 21}",
                    home=f"{'192.0.2' if number % 2 else '198.51.100'}.{number + 11}",
                    early=7.2 + (number * 37 % 18) / 10,
                    remote={"warehouse": 0.0, "engineering": 0.4}.get(team, 0.2),
                )
            )
    return found
