"""What producers mean: which words are failures, in any spelling, and which names a pattern is about."""

import pytest

from auditkit.errors import InvalidQueryError
from auditkit.where.vocabulary import failing, matching

AWS = "AccessDenied Client.UnauthorizedOperation NoSuchBucket ThrottlingException InvalidParameterValue LimitExceeded"
GRPC = "PERMISSION_DENIED NOT_FOUND DEADLINE_EXCEEDED UNAUTHENTICATED RESOURCE_EXHAUSTED ABORTED UNAVAILABLE UNIMPLEMENTED"
HTTP = "400 401 403 404 404.0 429 499 500 503 4xx 5XX http_403 HTTP/1.1-500"
OTHERS = "FAILURE DENY Forbidden forbid REJECT BLOCKED timed_out STATUS_CODE_ERROR SERVFAIL NXDOMAIN permerror ValueError"
WINDOWS = "0xC000006D 0x80070005"
SENTENCES = (
    "Audit Failure",
    "authentication failure",
    "Failed password",
    "access denied",
    "not authorized",
    "403 Forbidden",
    "500 Internal Server Error",
    "409 Conflict",
    " failure ",
    "no",
    "False",
)


@pytest.mark.parametrize("outcome", [*f"{AWS} {GRPC} {HTTP} {OTHERS} {WINDOWS}".split(), *SENTENCES])
def test_failures_in_the_words_of_many_producers(outcome: str) -> None:
    """AWS, gRPC, HTTP, DNS, mail, Windows, Okta, Kubernetes and people each have their own."""
    assert failing([outcome]) == [outcome]


@pytest.mark.parametrize(
    "outcome",
    [
        *[
            "success",
            "SUCCESS",
            "Succeeded",
            "ok",
            "200",
            "201",
            "302",
            "100",
            "600",
            "40",
            "4000",
            "0x00000000",
            "allow",
            "ACCEPT",
            "CHALLENGE",
            "SKIPPED",
        ],
        *[
            "UNKNOWN",
            "NOERROR",
            "NoError",
            "failover",
            "denylist",
            "unblocked",
            "dropbox",
            "pending",
            "yes",
            "true",
            "cancelled",
            "partial",
        ],
        *(
            "no error",
            "0 errors",
            "without errors",
            "not blocked",
            "Audit Success",
            "500 rows copied",
            "",
            " ",
        ),
    ],
)
def test_what_only_looks_like_a_failure(outcome: str) -> None:
    """Parts of words, negations and numbers of something else are no failures."""
    assert failing([outcome]) == []


def test_a_null_and_what_is_no_text_are_no_failures() -> None:
    """An outcome that is not stated counts as nothing, and each is returned once."""
    assert failing([None, 403, "DENY", "DENY"]) == ["DENY"]


def test_patterns_take_the_place_of_the_rule() -> None:
    """They are compared in any case with the whole; only the star is special."""
    assert failing(["Denied", "denied?", "a[b]", "failure"], ["DENIED", "A[B]"]) == ["Denied", "a[b]"]
    assert failing(["denied!", "denied?"], ["denied?"]) == ["denied?"]
    assert failing(["x denied y"], "*denied*") == ["x denied y"]
    assert failing(["failure"], []) == []
    with pytest.raises(InvalidQueryError, match=r"failures: is not a list of texts"):
        failing(["x"], [4])  # type: ignore[list-item]  # as a parameter from outside may be


CLOUDTRAIL = ["AttachUserPolicy", "PutRolePolicy", "CreateRole", "DeleteTrail", "GetObject", "AssumeRole"]


@pytest.mark.parametrize(
    ("pattern", "names", "found"),
    [
        ("*policy*", CLOUDTRAIL, ["AttachUserPolicy", "PutRolePolicy"]),
        ("*role*", CLOUDTRAIL, ["PutRolePolicy", "CreateRole", "AssumeRole"]),
        ("delete.*", CLOUDTRAIL, ["DeleteTrail"]),
        (
            "*access.key*",
            ["CreateAccessKey", "create_access_key", "iam:Create-Access-Key", "accesskeyed"],
            None,
        ),
        ("*AccessKey*", ["CreateAccessKey", "access_key.delete", "iam.accesskeys.list"], None),
        ("role.*", ["role.grant", "ROLE.GRANT", "payroll.read"], ["role.grant", "ROLE.GRANT"]),
        ("a?b", ["a?b", "axb"], ["a?b"]),
        ("*", ["", "x"], ["", "x"]),
    ],
)
def test_names_in_any_case_and_spelling(pattern: str, names: list[str], found: list[str] | None) -> None:
    """Camel case, snake case, dots and capitals are the same to a pattern of words."""
    expected = [name for name in names if name != "accesskeyed"] if found is None else found
    assert matching([*names, None], [pattern]) == expected
