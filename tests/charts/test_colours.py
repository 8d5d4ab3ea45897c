"""The colours of charts stay apart for every eye: simulated colour blindness, measured in CIELAB."""

import math
import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations, pairwise

import pytest

from auditkit.charts.figure import DARK, FAILED, GREY, LEVELS, PALETTE, REST

Colour = tuple[float, float, float]

# Simulated dichromacy as linear maps of linear sRGB: Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009), severity 1.
EYES: dict[str, tuple[Colour, Colour, Colour]] = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def linear(colour: str) -> Colour:
    """Return "#rrggbb" as linear sRGB."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return red, green, blue


def times(matrix: tuple[Colour, Colour, Colour], colour: Colour) -> Colour:
    """Return a matrix times a colour, kept within what a screen shows."""
    red, green, blue = (
        min(1.0, max(0.0, sum(cell * part for cell, part in zip(row, colour, strict=True)))) for row in matrix
    )
    return red, green, blue


def lab(colour: Colour) -> Colour:
    """Return linear sRGB in CIELAB (D65)."""
    red, green, blue = colour
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def apart(first: str, second: str, eye: str) -> float:
    """Return how far apart an eye sees two colours: the CIE 1976 difference, of which 2.3 is just noticeable."""
    pairs = zip(lab(times(EYES[eye], linear(first))), lab(times(EYES[eye], linear(second))), strict=True)
    return math.sqrt(sum((one - other) ** 2 for one, other in pairs))


def test_the_measure() -> None:
    """Black and white are a hundred apart, and red and green of equal lightness meet for a deuteranope."""
    assert apart("#000000", "#ffffff", "all cones") == pytest.approx(100, abs=0.1)
    assert apart("#d00000", "#6a6a00", "deuteranopia") < apart("#d00000", "#6a6a00", "all cones") / 4


SERIES = (*PALETTE, *FAILED, GREY, REST)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(
    ("colours", "least"), [(SERIES, 15), ([DARK[one] for one in SERIES], 12)], ids=["light", "dark"]
)
def test_series_can_be_told_apart(eye: str, colours: Sequence[str], least: float) -> None:
    """Any two colours of series, failures, null and rest differ by several just noticeable differences."""
    closest = min((apart(one, other, eye), one, other) for one, other in combinations(colours, 2))
    assert closest[0] > least, closest


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_shades_go_step_by_step(eye: str, dark: bool) -> None:
    """Each shade of the heat map stands out more from its page than the one before, by an amount that can be seen."""
    shades = [DARK[colour] for colour in LEVELS] if dark else LEVELS
    lightness = [lab(times(EYES[eye], linear(colour)))[0] * (1 if dark else -1) for colour in shades]
    assert all(more - less > 5 for less, more in pairwise(lightness))


def test_the_style_sheet_has_the_dark_colours() -> None:
    """Every colour of a drawing has its counterpart in the report's dark mode."""
    sheet = (
        files("auditkit.reporting").joinpath("templates/auditreport/style.css").read_text(encoding="utf-8")
    )
    assert dict(re.findall(r'svg \[fill="(#\w+)"\] \{ fill: light-dark\(\1, (#\w+)\); \}', sheet)) == DARK
