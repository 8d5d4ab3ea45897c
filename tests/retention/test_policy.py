"""Policies: what is declared, and what the catalog may hold."""

from datetime import timedelta
from typing import Any

import pytest

from auditkit.errors import FormatError
from auditkit.retention.policy import declare_policy, read_policy

RULES: list[Any] = [
    "90d",
    "7y",
    "36h",
    None,
    {"auth.*": "7y", "*": "90d"},
    {"auth.*": "forever", "debug.*": timedelta(days=7)},
    [
        ({"outcome": ["failure", None], "action": "pay.*"}, "7y"),
        ({"source": "auditkit"}, "2y"),
        ({"action": "*"}, None),
    ],
]


@pytest.mark.parametrize("retention", RULES)
def test_a_policy_comes_back_as_it_was_declared(retention: Any) -> None:
    """What the catalog stores reads as what was declared."""
    declared = declare_policy(retention)
    assert read_policy(declared.spec) == declared


@pytest.mark.parametrize(
    "spec",
    [
        '[[{"action":"*"},"-4d"]]',
        '[[{"action":"*"},"0d"]]',
        '[[{"action":"*"},"soon"]]',
        '[[{"actor":"ann"},"4d"]]',
        '[[{"action":7},"4d"]]',
        '[[{},"4d"]]',
        '[[{"action":"*"},4]]',
        "{",
    ],
)
def test_a_policy_that_cannot_be_declared_is_not_read(spec: str) -> None:
    """A stored policy that would keep nothing, or that this version does not know, is an error and hides nothing."""
    with pytest.raises(FormatError):
        read_policy(spec)


def test_a_policy_shows_itself_in_words() -> None:
    """What a notebook shows of `trail.retention` is the policy, not how it is held in memory."""
    assert repr(declare_policy("90d")) == "<Policy: keep 90d>"
    assert repr(declare_policy(None)) == "<Policy: keep for ever>"
