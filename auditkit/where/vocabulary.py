"""What producers mean by their words: which outcomes are failures, and which actions a pattern is about.

Producers spell as they like (`AccessDenied`, `FAILURE`, `permission_denied`, 403), so words are compared in any case
and however they are joined.  What is counted as a failure anywhere in auditkit is decided here, and a report lists the
values that were counted.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from http import HTTPStatus

from auditkit.errors import InvalidQueryError

FAILURES = "failures"
"""The name of the parameter of a report that says which outcomes count as failures."""

_FAILURE_WORDS = frozenset(
    [
        "abort",
        "aborted",
        "bad",
        "block",
        "blocked",
        "bounced",
        "cannot",
        "crash",
        "crashed",
        "declined",
        "denial",
        "denied",
        "denies",
        "deny",
        "disallowed",
        "drop",
        "dropped",
        "err",
        "exceeded",
        "exception",
        "exhausted",
        "expired",
        "fail",
        "failed",
        "failing",
        "fails",
        "failure",
        "failures",
        "error",
        "errored",
        "errors",
        "fatal",
        "fault",
        "forbid",
        "forbidden",
        "illegal",
        "incorrect",
        "infeasible",
        "invalid",
        "ko",
        "malformed",
        "mismatch",
        "nok",
        "nxdomain",
        "panic",
        "prohibited",
        "refuse",
        "refused",
        "reject",
        "rejected",
        "rejection",
        "throttled",
        "throttling",
        "timeout",
        "unauthenticated",
        "unauthorised",
        "unauthorized",
        "unavailable",
        "unimplemented",
        "unprocessable",
        "unreachable",
        "unsuccessful",
        "unsuccessfully",
        "unsupported",
        "wrong",
    ]
)
_FAILURE_PAIRS = frozenset(
    [
        "already-exists",
        "no-such",
        "not-acceptable",
        "not-allowed",
        "not-authenticated",
        "not-authorised",
        "not-authorized",
        "not-available",
        "not-found",
        "not-granted",
        "not-implemented",
        "not-ok",
        "not-permitted",
        "not-successful",
        "not-supported",
        "timed-out",
        "too-large",
        "too-many",
    ]
)
_ENDINGS = ("error", "exception", "fail", "failure")
"""Endings of words that mean a failure as well: `servfail`, `permerror`; not behind `no` or `non`."""
_NEGATIONS = frozenset({"0", "no", "non", "not", "without", "zero"})
_WHOLE = frozenset({"false", "no"})
"""What means a failure as the whole of an outcome: `success=no`, `"ok": false`."""
_NUMBERS = re.compile(r"(?:http(?:/[\d.]+)?[ _:-]*)?([45])(\d\d|xx)(?:\.0+)?|0x[8c][0-9a-f]{7}")
"""HTTP's codes from 400 on, and the codes of Windows that say an error (NTSTATUS, HRESULT)."""
_CODE_AND_PHRASE = re.compile(r"([45]\d\d)[ :_-]+(.+)")
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_JOINED = re.compile(r"[\W_]+")
_JOINED_IN_PATTERN = re.compile(r"[^\w*]+|_+")
_PHRASES = {status.value: status.phrase.casefold() for status in HTTPStatus}
_LONGEST = 200
"""Of a longer outcome only so many characters are looked at: it is a message, and says at once how it ended."""


def failing(outcomes: Iterable[object], patterns: Sequence[str] | str | None = None) -> list[str]:
    """Return those of some outcomes that count as failures, each once, in their order.

    `patterns` are compared with the whole of an outcome in any case, `*` standing for any text.  None is auditkit's own
    rule: common words in any spelling, and HTTP's codes from 400 on.

    >>> failing(["success", "AccessDenied", "FAILURE", None, "403", "200", "no error", "404 Not Found", "unblocked"])
    ['AccessDenied', 'FAILURE', '403', '404 Not Found']
    >>> failing(["Challenge", "failure"], ["challenge", "5*"])
    ['Challenge']
    """
    stated = dict.fromkeys(outcome for outcome in outcomes if isinstance(outcome, str))
    if patterns is None:
        return [outcome for outcome in stated if _means_failure(outcome[:_LONGEST])]
    wanted = [_pattern(pattern.casefold()) for pattern in _texts(patterns, FAILURES)]
    return [outcome for outcome in stated if any(fnmatchcase(outcome.casefold(), one) for one in wanted)]


def matching(names: Iterable[object], patterns: Sequence[str] | str) -> list[str]:
    """Return those of some names, such as actions, that a pattern is about, each once, in their order.

    `*` stands for any text.  Case does not count, nor how words are joined: `*access.key*` is about `CreateAccessKey`,
    `create_access_key` and `iam:Create-Access-Key`.

    >>> matching(["AttachUserPolicy", "role.grant", "GetObject", "iam:CreateAccessKey"], ["*policy*", "ROLE.*", "*access.key"])
    ['AttachUserPolicy', 'role.grant', 'iam:CreateAccessKey']
    """
    wanted = [
        (_pattern(pattern.casefold()), _pattern(_JOINED_IN_PATTERN.sub(".", _parted(pattern))))
        for pattern in _texts(patterns, "patterns")
    ]
    return [
        name
        for name in dict.fromkeys(name for name in names if isinstance(name, str))
        if any(
            fnmatchcase(name.casefold(), plain) or fnmatchcase(".".join(_words(name)), parted)
            for plain, parted in wanted
        )
    ]


def _texts(patterns: Sequence[str] | str, name: str) -> Sequence[str]:
    given = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(given, list | tuple) or not all(isinstance(pattern, str) for pattern in given):
        raise InvalidQueryError(name, patterns, "is not a list of texts")
    return given


def _pattern(text: str) -> str:
    """Return a pattern for `fnmatchcase` in which only the star is special."""
    return re.sub(r"[?\[]", r"[\g<0>]", text)


def _parted(text: str) -> str:
    return _BORDER.sub(".", text).casefold()


def _words(text: str) -> list[str]:
    """Return the words of a name in small letters.

    >>> _words("Client.UnauthorizedOperation"), _words("HTTPError_not-found")
    (['client', 'unauthorized', 'operation'], ['http', 'error', 'not', 'found'])
    """
    return [word for word in _JOINED.split(_parted(text)) if word]


@lru_cache(maxsize=10_000)
def _means_failure(outcome: str) -> bool:
    text = outcome.strip().casefold()
    if text in _WHOLE or _NUMBERS.fullmatch(text):
        return True
    if (found := _CODE_AND_PHRASE.fullmatch(text)) and found[2] == _PHRASES.get(int(found[1])):
        return True  # `500 rows copied` is no error
    words = _words(outcome)
    before = ["", *words]
    return any(
        f"{last}-{word}" in _FAILURE_PAIRS or (last not in _NEGATIONS and _is_failure_word(word))
        for last, word in zip(before, words, strict=False)
    )


def _is_failure_word(word: str) -> bool:
    ending = next((ending for ending in _ENDINGS if word.endswith(ending)), "")
    return word in _FAILURE_WORDS or (ending != "" and word.removesuffix(ending) not in _NEGATIONS)
