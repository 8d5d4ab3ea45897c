"""Real files of eight producers, each imported by one command, twice, and asked; the answers were computed elsewhere."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from click.testing import CliRunner

import auditkit as ak
from auditkit import query
from auditkit.cli.main import cli
from tests.shared_events import SHARED, Asked, assert_expected, needed

FAR_AHEAD = "30000d"  # the machine that tests may stand in any year
_IP = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_USER = re.compile(r"(?:for (?:invalid user )?|[Ii]nvalid user |user[= ]|for user )([A-Za-z0-9_.@$-]+)")


class RealFile(NamedTuple):
    """A file, the options that read it, how many of its lines are no events, and what the answers call differently."""

    file: str
    options: tuple[str, ...]
    recast: Callable[[pl.DataFrame], pl.DataFrame]
    dead_letters: int = 0


def _cloudtrail(events: pl.DataFrame) -> pl.DataFrame:
    return events.with_columns(
        outcome=pl.col("outcome").replace({"success": "Success"}), value=pl.col("attrs").str.len_bytes()
    )


def _syslog(prefix: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return what names events by their line, and looks into messages as the answers do: for words alone."""

    def recast(events: pl.DataFrame) -> pl.DataFrame:
        messages = [json.loads(text)["message"] for text in events["attrs"]]
        users = [found[1] if (found := _USER.search(message)) else None for message in messages]
        addresses = [found[0] if (found := _IP.search(message)) else None for message in messages]
        return events.with_columns(
            pl.Series("actor", users, pl.String),
            pl.Series("origin", addresses, pl.String),
            pl.Series("outcome", [_outcome(message.lower()) for message in messages], pl.String),
            pl.Series("value", [len(message) for message in messages]),
            id=pl.format(f"{prefix}-{{}}", pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(6)),
        )

    return recast


def _outcome(message: str) -> str | None:
    if re.search(r"fail|invalid|error|denied|break-in", message):
        return "failure"
    return "success" if re.search(r"accepted|session opened", message) else None


def _cases(events: pl.DataFrame) -> pl.DataFrame:
    place = pl.int_range(pl.len()).over("correlation")
    return events.with_columns(
        value=place, id=pl.format("{}/{}", "correlation", place.cast(pl.String).str.zfill(3))
    )


def _panther(events: pl.DataFrame) -> pl.DataFrame:
    ids = {
        "GitHub.Audit": "_document_id",
        "Okta.SystemLog": "uuid",
        "GSuite.ActivityEvent": "id.uniqueQualifier",
        "Slack.AuditLogs": "id",
    }
    of_kind = [pl.when(source=kind).then(ak.attr(f"log.{path}")) for kind, path in ids.items()]
    return events.with_columns(value=pl.col("attrs").str.len_bytes(), id=pl.coalesce(of_kind))


def _access(events: pl.DataFrame) -> pl.DataFrame:
    line = pl.int_range(1, pl.len() + 1)
    line += line >= 8899  # which is no line of this format
    return events.with_columns(id=pl.format("acc-{}", line.cast(pl.String).str.zfill(6)))


def _as_it_is(events: pl.DataFrame) -> pl.DataFrame:
    return events


GIT = [
    "--set source=git --map id=sha --map ts=author_date --map actor=author --map resource=top_dir",
    "--map value=files_changed --map action=parents --value action:2=merge --value action:*=commit",
]
FILES = {
    "cloudtrail_invictus": RealFile("cloudtrail_invictus.jsonl.gz", ("--preset", "auto"), _cloudtrail),
    "auth_ssh": RealFile(
        "auth_ssh_linux.log.gz", ("--preset", "auto", "--year", "2017", "--tz", "UTC"), _syslog("auth")
    ),
    "openssh_2k": RealFile(
        "openssh_2k.log.gz", ("--preset", "syslog", "--year", "2016", "--tz", "UTC"), _syslog("ossh")
    ),
    "gharchive_00": RealFile("gharchive_2015-01-01-00.jsonl.gz", ("--preset", "auto"), _as_it_is),
    "helpdesk": RealFile("process_helpdesk.xes.gz", ("--preset", "auto"), _cases),
    "receipt": RealFile("process_receipt.csv.gz", ("--preset", "auto"), _cases),
    "panther_saas": RealFile("panther_saas.jsonl.gz", ("--preset", "auto"), _panther, 133),
    "git_zarr": RealFile("git_zarr.jsonl.gz", tuple(" ".join(GIT).split()), _as_it_is),
    "apache_access": RealFile("apache_access.log.gz", ("--preset", "auto"), _access, 1),
}


class Framed:
    """What a trail holds, with what the answers call differently."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self.frame = frame

    def range(self, start: Any = None, end: Any = None, *, columns: Any = None) -> pl.DataFrame:
        """Ask for events."""
        return query.range(self.frame, start, end, columns=columns)

    def group_by(self, by: Any, *, every: Any = None, aggs: Any = None) -> pl.DataFrame:
        """Ask for groups."""
        return query.group_by(self.frame, by, every=every, aggs=aggs)

    def downsample(self, every: str, *, aggs: Any = None, tz: str = "UTC") -> pl.DataFrame:
        """Ask for a series."""
        return query.downsample(self.frame, every, aggs=aggs, tz=tz)


def imported(path: Path, real: RealFile) -> dict[str, Any]:
    """Import a file by the command line, and return the summary."""
    command = ["import", str(SHARED / "data" / "data" / real.file), "--trail", str(path), "--json"]
    done = CliRunner().invoke(cli, [*command, *real.options])
    assert done.exit_code == 0, done.output
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@needed
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_imported_by_one_command_and_has_the_expected_answers(name: str) -> None:
    """Every answer about its events is the expected one, and importing it again adds nothing."""
    real = FILES[name]

    class Imported(Asked):
        """The events of the file, imported twice."""

        def ingest(self, events: Iterable[dict[str, Any]]) -> None:
            """Import the file that these events stand for."""
            path = self.folder / "trail"
            ak.create(path, max_ahead=FAR_AHEAD).close()
            first = imported(path, real)
            assert (first["events"], first["dead_letters"]) == (len(list(events)), real.dead_letters)
            again = imported(path, real)
            assert (again["events"], again["duplicates"], again["dead_letters"]) == (0, 0, 0)
            frame = ak.open(path).scan().sort("seq").collect()
            self.asked = Framed(real.recast(frame).lazy())

    assert_expected(Imported, name)
