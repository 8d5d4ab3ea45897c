"""Presets: each reads its own kind of file, is recognised by it, and reads it in time whatever stands in it."""

import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from auditkit.api import Trail
from auditkit.errors import AuditError
from auditkit.sources.importer import import_records
from auditkit.sources.line_formats import GIT_COMMAND
from auditkit.sources.line_records import line_records
from auditkit.sources.plans import ImportPlan
from auditkit.sources.presets import PRESETS, Preset, read_options, recognise
from auditkit.sources.readers import Source, open_source
from auditkit.sources.records import Record
from auditkit.sources.tally import ImportSummary
from tests.sources.preset_samples import SAMPLES, Sample


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_each_preset_is_recognised_by_its_example(preset: Preset) -> None:
    """The example of a preset is read by that preset and by none before it."""
    assert recognise(preset.example.encode() + b"\n") is preset
    assert recognise(preset.example.encode()) is preset


@pytest.mark.parametrize(("name", "sample"), SAMPLES.items(), ids=SAMPLES)
def test_each_kind_of_file_is_recognised(name: str, sample: Sample) -> None:
    """A file is of one kind only, so the order in which presets are tried does not matter."""
    head = sample.text.encode()
    assert recognise(head) is PRESETS[name]
    with open_source(io.BytesIO(head)) as source:
        assert len(_records(source, PRESETS[name])) == len(sample.events)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_long_file_is_recognised_though_the_look_at_it_ends_within_a_record(name: str) -> None:
    """Where the last record of what is looked at is cut, the others decide."""
    preset = PRESETS[name]
    first, newline, rest = preset.example.partition("\n")
    head, tail = (first + newline, rest) if preset.format == "csv" else ("", preset.example)
    if preset.format == "xes":
        assert recognise(tail.removesuffix("</trace></log>").encode()) is preset
    elif preset.format != "otlp":
        many = f"{head}{tail}\n{tail}\n{tail[: len(tail) // 2]}"
        assert recognise(many.encode()) is preset


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"oops\n",
        b'{"ts":"2026-11-24T07:00:00Z","action":"a"}\n',
        b"\x00\xff",
        b"<html></html>",
        b'<log xes.version="1.0"></log>',
        b"a,b\n1,2\n",
        b'{"Records":[]}',
        b'{"resourceLogs":[]}',
        b"PAR1\x15\x04",
    ],
)
def test_other_files_are_of_no_preset(head: bytes) -> None:
    """What is no record of a known kind is not taken for one."""
    assert recognise(head) is None


@pytest.mark.parametrize("name", ["cloudtrail", "kubernetes"])
def test_records_may_be_wrapped_or_stand_by_themselves(name: str) -> None:
    """The same preset reads both, and says how."""
    preset = PRESETS[name]
    wrapped = f'{{"kind": "List", "{preset.options.records[0]}": [{preset.example},\n {preset.example}]}}'
    for text, records in ((wrapped, preset.options.records), (preset.example, ())):
        assert recognise(text.encode()) is preset
        assert read_options(preset, text.encode()).records == records
    assert read_options(preset, b"oops") == preset.options


HOSTILE = (
    "{} from {} port ",
    "Failed password for {} from ",
    "Invalid user {} from ",
    " user={}",
    '{} - {} [{}] "{}" 200 1 "{}" ',
    '"\\{}" 200 1 ',
    "{}: [{}]: ",
    "session opened for user {} of user {}.",
    "1.1.1.1 from 1.1.1.1 {}",
    "::{}::",
    "{}\t",
    "TTY={} : ",
)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.format == "text"])
def test_hostile_lines_take_no_longer_than_others(name: str) -> None:
    """A line of 200 kB that repeats what the patterns look for is read at once."""
    preset = PRESETS[name]
    for piece in HOSTILE:
        filled = piece.replace("{}", "a")
        repeated = filled * (200_000 // len(filled))
        for start in range(0, len(preset.example), 7):
            content = f"{preset.example[:start]}{repeated}\n".encode()
            began = process_time()
            list(line_records(io.BytesIO(content), preset.options.lines, year=2026))
            assert process_time() - began < 1, (piece, start)


def _records(source: Source, preset: Preset) -> list[Record]:
    options = read_options(preset, source.head)
    items = list(source.read(preset.format, replace(options, year=2026)))
    return [item for item in items if isinstance(item, Record)]


def import_sample(trail: Trail, name: str, **more: Any) -> ImportSummary:
    """Import the file of a sample by its preset."""
    sample = SAMPLES[name]
    plan = ImportPlan(preset=name, **sample.options)
    with plan.open(io.BytesIO(sample.text.encode())) as (source, mapping, _):
        return import_records(trail, source, mapping, **more)


def stored(trail: Trail) -> list[dict[str, Any]]:
    """The producers' events in the order they were taken in."""
    return trail.scan().sort("seq").drop("seq", "recorded").collect().to_dicts()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_becomes_the_events_that_its_producer_meant(trail: Trail, name: str) -> None:
    """Who did what, when, on what and with which outcome stands in the columns, and the whole record in attrs."""
    sample = SAMPLES[name]
    summary = import_sample(trail, name)
    assert (summary.events, summary.dead_letters) == (len(sample.events), 0)
    events = [{key: value for key, value in row.items() if value is not None} for row in stored(trail)]
    attrs = [json.loads(event.pop("attrs")) for event in events]
    assert events == [event | {"ts": datetime.fromisoformat(event["ts"])} for event in sample.events]
    assert all(attrs)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_import_that_was_stopped_goes_on_behind_the_last_record(trail: Trail, name: str) -> None:
    """Each record of any format is a place to go on from, also within a line, a document or the turn of a year."""
    chunks = iter(range(0))

    def stop(*_progress: object) -> None:
        if next(chunks, None) is None:
            raise KeyboardInterrupt

    for known in range(len(SAMPLES[name].events)):
        chunks = iter(range(known))
        with pytest.raises(KeyboardInterrupt):
            import_sample(trail, name, chunk_records=1, on_progress=stop)
        assert len(stored(trail)) == known + 1
    import_sample(trail, name)
    times = [datetime.fromisoformat(event["ts"]) for event in SAMPLES[name].events]
    assert [row["ts"] for row in stored(trail)] == times
    summary = import_sample(trail, name)
    assert (summary.events, summary.known) == (0, len(times))


def test_what_does_not_fit_costs_a_column_and_no_event(trail: Trail) -> None:
    """A preset's field that holds another kind of value stays in attrs, and is not given the constant of one that is missing."""
    good = PRESETS["cloudtrail"].example
    odd = (
        good.replace('"e-1"', '"e-2"').removesuffix("}")
        + ',"errorCode":{"code":7},"sourceIPAddress":["192.0.2.7"]}'
    )
    no_action = good.replace('"GetObject"', '["GetObject"]')
    with ImportPlan().open(io.BytesIO(f"{good}\n{odd}\n{no_action}\n".encode())) as (source, mapping, preset):
        summary = import_records(trail, source, mapping)
    assert preset is PRESETS["cloudtrail"]
    assert (summary.events, summary.dead_letters) == (2, 1)
    assert [(row["outcome"], row["origin"]) for row in stored(trail)] == [("success", None), (None, None)]
    assert summary.refusals[0].field == "action"


def test_what_is_asked_for_beside_a_preset_has_to_fit(trail: Trail) -> None:
    """Where the command line maps a field, a record without a fitting value is a dead letter, as without a preset."""
    good = PRESETS["cloudtrail"].example
    plan = ImportPlan(preset="cloudtrail", paths=[("correlation", "userIdentity")])
    with (
        plan.open(io.BytesIO(good.encode())) as (source, mapping, _),
        pytest.raises(AuditError, match="its only record cannot become an event"),
    ):
        import_records(trail, source, mapping)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_history_of_a_real_repository(trail: Trail, tmp_path: Path) -> None:
    """What the command of the preset writes is read, a merge is told from a commit, and names stay as they are."""
    clock = {
        "GIT_AUTHOR_DATE": "2026-11-24T08:00:00+01:00",
        "GIT_COMMITTER_DATE": "2026-11-24T09:00:00+01:00",
    }
    person = {"GIT_AUTHOR_NAME": 'Ann "Å" Lee', "GIT_AUTHOR_EMAIL": "ann@firm.example"}
    committer = {"GIT_COMMITTER_NAME": "Bob", "GIT_COMMITTER_EMAIL": "bob@firm.example"}
    script = (
        "git init -q -b main . && git commit -q --allow-empty -m 'Begin\twith a tab' && git checkout -q -b side "
        "&& git commit -q --allow-empty -m 'Aside' && git checkout -q main && git merge -q --no-ff -m 'Merge' side"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **clock, **person, **committer}
    subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, check=True)
    log = subprocess.run(
        ["sh", "-c", GIT_COMMAND], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    with ImportPlan().open(io.BytesIO(log.stdout)) as (source, mapping, preset):
        summary = import_records(trail, source, mapping)
    assert preset is PRESETS["git"]
    assert (summary.events, summary.dead_letters) == (3, 0)
    rows = stored(trail)
    assert [row["action"] for row in rows] == ["merge", "commit", "commit"]
    assert {(row["actor"], row["ts"].isoformat()) for row in rows} == {
        ("ann@firm.example", "2026-11-24T07:00:00+00:00")
    }
    [root] = [commit for row in rows if not (commit := json.loads(row["attrs"]))["parents"]]
    assert (root["author"], root["subject"]) == ('Ann "Å" Lee', "Begin\twith a tab")
