"""Text made safe to look at: which characters are written out."""

import sys
import unicodedata
from collections.abc import Iterator

import pytest

from auditkit.text import UNSEEN, visible

WITH_A_LOOK = {  # format characters that enclose a number or stand for a sign: Prepended_Concatenation_Mark, Egyptian quadrats
    *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440),
}  # fmt: skip
IGNORABLE = {  # Unicode's Other_Default_Ignorable_Code_Point, which `unicodedata` does not have
    0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000),
}  # fmt: skip
BLANK = {0x2800}  # a letter of Braille without a dot
NEITHER = IGNORABLE | BLANK


def unseen() -> Iterator[int]:
    """Yield what has no look: DerivedCoreProperties' Default_Ignorable_Code_Point, controls, separators, surrogates."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if (
            category in ("Cc", "Zl", "Zp", "Cs")
            or (category == "Cf" and code not in WITH_A_LOOK)
            or "VARIATION SELECTOR" in unicodedata.name(character, "")
            or code in NEITHER
        ):
            yield code


def test_everything_without_a_look_is_written_out() -> None:
    """Exactly the characters that Unicode calls invisible are made visible."""
    shown = {code for code in range(sys.maxunicode + 1) if UNSEEN.fullmatch(chr(code))}
    assert {f"{code:04X}" for code in shown ^ set(unseen())} == set()


@pytest.mark.parametrize(
    "code", [0x3164, 0x115F, 0xFFA0, 0x2800, 0x34F, 0xFE0F, 0xE0100, 0x180F, 0x200B, 0x202E]
)
def test_two_names_that_look_the_same_are_told_apart(code: int) -> None:
    """A name with an invisible letter shows it."""
    assert visible(f"an{chr(code)}n") == f"an<U+{code:04X}>n"
