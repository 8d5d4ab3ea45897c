"""Presets: each reads its own example, and is recognised by it."""

import pytest

from auditkit.sources.presets import PRESETS, Preset, recognise


@pytest.mark.parametrize("preset", PRESETS.values(), ids=str)
def test_each_preset_is_recognised_by_its_example(preset: Preset) -> None:
    """The example of a preset is read by that preset and by none before it."""
    assert recognise(preset.example.encode() + b"\n") is preset
    assert recognise(preset.example.encode()) is preset


@pytest.mark.parametrize(
    "head", [b"", b"\n", b"oops\n", b'{"ts":"2026-11-24T07:00:00Z","action":"a"}\n', b"\x00\xff"]
)
def test_other_files_are_of_no_preset(head: bytes) -> None:
    """What is no record of a known kind is not taken for one."""
    assert recognise(head) is None
