"""The command presets."""

import json

from auditkit.sources.presets import PRESETS
from tests.cli.conftest import Run, rows


def test_all_are_listed_with_an_example(run: Run) -> None:
    """Each preset has its name, what it reads, and a record as it stands in a file; no trail is needed."""
    shown = run("presets").stdout
    for preset in PRESETS.values():
        assert f"{preset.name}: {preset.title}\n" in shown
        assert preset.example.splitlines()[0] in shown


def test_one_is_shown_with_what_becomes_which_field(run: Run) -> None:
    """Paths stand in the order they are tried, a constant comes last and in quotes."""
    lines = run("presets", "cloudtrail").stdout.splitlines()
    assert '  outcome      errorCode, else responseElements.ConsoleLogin, else "success"' in lines
    assert "  id           eventID" in lines
    assert json.loads(lines[-1])["eventName"] == "GetObject"


def test_programs_get_objects(run: Run) -> None:
    """With --json each preset is a line."""
    listed = rows(run("presets", "--json"))
    assert [one["name"] for one in listed] == sorted(PRESETS)
    assert all(one["example"] and one["fields"]["ts"] for one in listed)


def test_an_unknown_one_is_answered_with_those_there_are(run: Run) -> None:
    """It is a mistake of the command line."""
    refused = run("presets", "cloudtrial", code=2)
    assert "cloudtrail" in refused.stderr
