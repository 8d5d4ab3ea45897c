"""Policies: what is declared, and what the catalog may hold."""

import pytest

from auditkit.errors import FormatError
from auditkit.retention.policy import declare_policy, read_policy


@pytest.mark.parametrize("retention", ["90d", "7y", "36h", None])
def test_a_policy_comes_back_as_it_was_declared(retention: str | None) -> None:
    """What the catalog stores reads as what was declared."""
    declared = declare_policy(retention)
    assert read_policy(declared.spec) == declared


@pytest.mark.parametrize(
    "spec",
    [
        '[[{"action":"*"},"-4d"]]',
        '[[{"action":"*"},"0d"]]',
        '[[{"action":"*"},"soon"]]',
        '[[{"action":"auth.*"},"4d"]]',
        '[[{"action":"*"},4]]',
        "{",
    ],
)
def test_a_policy_that_cannot_be_declared_is_not_read(spec: str) -> None:
    """A stored policy that would keep nothing, or that this version does not know, is an error and hides nothing."""
    with pytest.raises(FormatError):
        read_policy(spec)
