"""Metrics in the text format of Prometheus."""

from pathlib import Path

import pytest

from auditkit.opening import create, open_trail
from tests.cli.conftest import Run


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Parse with Prometheus' own parser: name and label values → value."""
    parser = pytest.importorskip("prometheus_client.parser")
    found = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            found[sample.name, *sample.labels.values()] = sample.value
    return found


def test_the_numbers_are_those_of_stats(filled: Run, place: Path) -> None:
    """Every metric has help and type, and the value that `stats` shows."""
    with open_trail(place) as trail, trail.follow("mailer") as follower:
        next(follower).ack()
    text = filled("stats", "--prometheus").stdout
    assert "# HELP auditkit_queue_depth Committed events that are not in segments yet.\n" in text
    assert "# TYPE auditkit_queue_depth gauge\n" in text
    assert text.endswith("\n")
    found = samples(text)
    assert found["auditkit_queue_depth", "audit"] == 2
    assert found["auditkit_segment_events", "audit"] == 4
    assert found["auditkit_events_committed_total", "audit"] == 6
    assert found["auditkit_events_flushed_total", "audit"] == 4
    assert found["auditkit_retention_horizon_waits", "audit"] == 0
    assert found["auditkit_maintenance_due", "audit", "flush"] == 0
    assert found["auditkit_maintenance_due", "audit", "prune"] == 0
    assert found["auditkit_consumer_lag", "audit", "mailer"] == 5
    assert found["auditkit_consumer_position", "audit", "mailer"] == 1
    assert 0 <= found["auditkit_queue_oldest_age_seconds", "audit"] < 600
    assert not any(name[0] == "auditkit_last_prune_timestamp_seconds" for name in found)


def test_no_event_content_gets_out(filled: Run) -> None:
    """Actors, actions and resources of events are in no line."""
    text = filled("stats", "--prometheus").stdout
    for content in ("ann", "bob", "auth", "doc", "10.0.0.7"):
        assert content not in text, content


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "new\nline", "\x1b[31mred", "trail{a=1} 5"])
def test_names_are_escaped(run: Run, tmp_path: Path, name: str) -> None:
    """A trail's name cannot end its label, its line, or act on a terminal."""
    create(tmp_path / name).close()
    text = run("stats", "--prometheus", "--trail", str(tmp_path / name)).stdout
    assert "\x1b" not in text
    assert all(
        line.startswith(("# HELP auditkit_", "# TYPE auditkit_", "auditkit_")) for line in text.splitlines()
    )
    names = {labels[1] for labels in samples(text)}
    assert len(names) == 1
    if "\n" not in name and "\x1b" not in name:
        assert names == {name}


def test_one_form_at_a_time(filled: Run) -> None:
    """JSON and metrics together are a misuse."""
    assert "--json or --prometheus" in filled("stats", "--json", "--prometheus", code=2).stderr
