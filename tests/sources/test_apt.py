"""The package history: transactions and packages, local times, and stanzas that make no sense."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.queue.dead_letters import read_letters
from auditkit.sources.apt import HISTORY, Unreadable, history_files, import_history, read_history
from tests.fakes import ManualClock

OLD = """
Start-Date: 2026-10-25  02:30:00
Commandline: apt-get install -y ripgrep
Requested-By: ann (1000)
Install: ripgrep:amd64 (13.0.0-4), libpcre2-8-0:amd64 (10.42-1, automatic)
End-Date: 2026-10-25  02:30:07

Start-Date: 2026-10-25  02:50:00
Commandline: /usr/bin/unattended-upgrade
Upgrade: openssl:amd64 (3.0.14-1~deb12u1, 3.0.14-1~deb12u2)
Remove: nano:amd64 (7.2-1)
Error: Sub-process /usr/bin/dpkg returned an error code (1)
End-Date: 2026-10-25  02:10:00
"""
NEW = """
Start-Date: 2026-11-02  09:00:00
Commandline: apt purge oldtool
Requested-By: bo (1001)
Purge: oldtool:all (1.0)

Commandline: a stanza without a beginning

Start-Date: yesterday
Install: a:amd64 (1)

Start-Date: 2026-11-03  09:00:00
Install: (((

Start-Date: 2026-11-04  09:00:00
Reinstall: bash:amd64 (5.2)
End-Date: 2026-11-04  09:00:01
"""


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Return a folder with a rotated and a current history."""
    folder = tmp_path / "apt"
    folder.mkdir()
    (folder / "history.log.2.gz").write_bytes(
        gzip.compress(b"Start-Date: 2026-09-01  08:00:00\nInstall: a:amd64 (1)\n")
    )
    (folder / "history.log.1.gz").write_bytes(gzip.compress(OLD.encode()))
    (folder / "history.log").write_text(NEW)
    return folder


def events(folder: Path) -> list[dict[str, object]]:
    """Return what can be read, in Stockholm's time."""
    found = read_history(history_files(folder), tz="Europe/Stockholm")
    return [item for item in found if not isinstance(item, Unreadable)]


def test_files_are_read_oldest_first(history: Path) -> None:
    """The most rotated file comes first, the current one last."""
    (history / "history.log.10.gz").write_bytes(gzip.compress(b""))
    names = [path.name for path in history_files(history)]
    assert names == ["history.log.10.gz", "history.log.2.gz", "history.log.1.gz", "history.log"]


def test_a_transaction_and_its_packages_share_who_when_and_correlation(history: Path) -> None:
    """One event for the transaction with the whole stanza, one for each package."""
    found = [event for event in events(history) if event["correlation"] == "apt-2026-10-25T02:30:00"]
    assert [(event["action"], event["resource"]) for event in found] == [
        ("package.transaction", "apt-get install -y ripgrep"),
        ("package.install", "ripgrep"),
        ("package.install", "libpcre2-8-0"),
    ]
    assert {(event["actor"], event["outcome"], event["source"]) for event in found} == {
        ("ann", "success", "apt")
    }
    attrs = found[0]["attrs"]
    assert isinstance(attrs, dict)
    assert attrs["original"] == OLD.strip().split("\n\n")[0]
    assert (attrs["packages"], attrs["uid"], found[0]["value"]) == (2, 1000, 7.0)
    assert found[1]["attrs"] == {"architecture": "amd64", "version": "13.0.0-4"}
    assert found[2]["attrs"] == {"architecture": "amd64", "version": "10.42-1", "automatic": True}


def test_an_upgrade_has_both_versions_and_an_error_is_a_failure(history: Path) -> None:
    """What was there before is kept; no person asked, so there is no actor."""
    found = [event for event in events(history) if event["correlation"] == "apt-2026-10-25T02:50:00"]
    assert [event["action"] for event in found] == [
        "package.transaction",
        "package.upgrade",
        "package.remove",
    ]
    assert {(event["actor"], event["outcome"]) for event in found} == {(None, "failure")}
    assert found[1]["attrs"] == {
        "architecture": "amd64",
        "version": "3.0.14-1~deb12u2",
        "previous": "3.0.14-1~deb12u1",
    }


def test_local_times_are_read_in_the_zone_a_repeated_hour_as_its_first_pass(history: Path) -> None:
    """Half past two on the day clocks go back is half past midnight UTC; an end before it is in the second pass."""
    found = {
        event["correlation"]: event for event in events(history) if event["action"] == "package.transaction"
    }
    first, second = found["apt-2026-10-25T02:30:00"], found["apt-2026-10-25T02:50:00"]
    assert isinstance(first["ts"], datetime)
    assert first["ts"].astimezone(UTC) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert second["value"] == 20 * 60.0


def test_a_transaction_without_an_end_has_no_outcome(history: Path) -> None:
    """Where apt never wrote how it ended, nothing is claimed."""
    found = [event for event in events(history) if event["actor"] == "bo"]
    assert [(event["action"], event["outcome"], event.get("value")) for event in found] == [
        ("package.transaction", None, None),
        ("package.purge", None, None),
    ]


def test_malformed_stanzas_are_named_and_do_not_stop_the_rest(history: Path) -> None:
    """Each bad stanza is reported with its line and reason; what follows is still read."""
    found = [item for item in read_history(history_files(history), tz="UTC") if isinstance(item, Unreadable)]
    assert [(item.line, item.reason.split(":")[0]) for item in found] == [
        (7, "no Start-Date"),
        (9, "not a time"),
        (12, "not a list of packages"),
    ]
    assert events(history)[-1]["action"] == "package.reinstall"


def test_a_damaged_archive_is_named_and_does_not_stop_the_rest(history: Path) -> None:
    """A rotated file that cannot be unpacked is one unreadable item."""
    (history / "history.log.1.gz").write_bytes(b"\x1f\x8b damaged")
    found = [item for item in read_history(history_files(history), tz="UTC") if isinstance(item, Unreadable)]
    assert found[0].path.name == "history.log.1.gz"
    assert found[0].reason.startswith("cannot be read")


def test_an_import_appends_events_and_keeps_the_rest_as_dead_letters(history: Path, tmp_path: Path) -> None:
    """The trail holds what could be read, and the reasons for what could not."""
    with ak.create(tmp_path / "trail", clock=ManualClock()) as trail:
        summary = import_history(trail, history, tz="Europe/Stockholm")
        assert (summary.files, summary.transactions, summary.events, summary.unreadable) == (3, 5, 12, 3)
        asked = trail.group_by("actor", where={"action": "package.transaction"})
        assert dict(asked.select("actor", "count").iter_rows()) == {"ann": 1, "bo": 1, None: 3}
        original = trail.range(where={"resource": "apt purge oldtool"})["attrs"].item()
        assert json.loads(original)["original"].startswith("Start-Date: 2026-11-02")
        letters = list(read_letters(trail.handle.layout))
        assert [letter.line for letter in letters] == [7, 9, 12]


def test_a_machine_without_apt_has_no_history(tmp_path: Path) -> None:
    """Where there is no folder, nothing is appended and nothing fails."""
    with ak.create(tmp_path / "trail") as trail:
        summary = import_history(trail, tmp_path / "nowhere")
        assert (summary.files, summary.events) == (0, 0)


@pytest.mark.skipif(not history_files(HISTORY), reason="no package history on this machine")
def test_this_machines_history_can_be_read() -> None:
    """Every stanza of the real history is understood."""
    found = list(read_history(history_files(HISTORY)))
    assert found
    assert not [item for item in found if isinstance(item, Unreadable)]
