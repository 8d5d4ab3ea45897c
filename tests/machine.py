"""What tests need of a machine: missing, they are skipped there, but fail where everything must run."""

import os

import pytest


def skip_or_fail(reason: str) -> None:
    """Skip the test, saying why; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
