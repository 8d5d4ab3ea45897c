r"""What the lines of well-known logs look like.

Attackers write into logs, so each pattern takes time in proportion to a line, whatever stands in it: what repeats is
possessive or excludes what follows, what is searched with `.*` begins with `^`.  A name that a stranger chose ends where
the daemon's own words go on, at the last ` from `.
"""

from auditkit.sources.line_records import Derived, LineFormat

_ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*[0-9A-Fa-f])"
_QUOTED = r'(?:[^"\\]|\\.)*+'
_REPEATED = r"^(?:message repeated \d+ times: \[ )?"
_PRIORITY = r"(?:<(?P<priority>\d{1,3})>)?"
_WITHOUT_YEAR = _PRIORITY + r"(?P<stamp>[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)?) "
_WITH_YEAR = _PRIORITY + r"(?P<time>\d{4}-\d\d-\d\dT\S+) "
_TAGGED = r"(?P<host>\S+) (?P<program>[^:\[]+?)(?:\[(?P<pid>\d+)\])?:(?: (?P<message>.*))?"
_UNTAGGED = r"(?P<host>\S+) (?P<message>.*)"
_RFC_5424 = (
    r"<(?P<priority>\d{1,3})>1 (?P<time>\S+) (?:-|(?P<host>\S+)) (?:-|(?P<program>\S+)) (?:-|(?P<pid>\S+)) "
    r"(?:-|(?P<id>\S+)) (?:-|(?P<data>(?:\[(?:[^\]\\]|\\.)*+\])+))(?: (?P<message>.*))?"
)


def _found(name: str, part: str, *patterns: str, word: str | None = None) -> tuple[Derived, ...]:
    return tuple(Derived(name=name, part=part, pattern=pattern, word=word) for pattern in patterns)


SYSLOG = LineFormat(
    patterns=(
        _RFC_5424,
        _WITHOUT_YEAR + _TAGGED,
        _WITH_YEAR + _TAGGED,
        _WITHOUT_YEAR + _UNTAGGED,
        _WITH_YEAR + _UNTAGGED,
    ),
    derived=(
        *_found(
            "user",
            "message",
            _REPEATED
            + r"(?:Accepted|Failed|Postponed) \S+ for (?:(?:invalid|illegal) user )?(.+) from \S+ port \d+",
            _REPEATED + r"(?:Invalid|Illegal) user (.+) from \S+(?: port \d+)?\]?$",
            r"^(?:input_userauth_request: |Connection (?:closed|reset) by |Disconnected from )"
            r"(?:(?:invalid|illegal|authenticating) )?user (.+?)(?: \S+ port \d+)?(?: \[preauth\])?$",
            r"\suser=(\S+)",
            r"session (?:opened|closed) for user ([^\s(]+)",
            r"^\s*(\S+) : .*COMMAND=",  # sudo
            r"^(?:Successful|FAILED) su for \S+ by (\S+)",
            r" of user (\S+?)\.?$",
        ),
        *_found(
            "address",
            "message",
            r"^.* from (\S+) port \d+",
            r"\srhost=(\S+)",
            rf"^.* from ({_ADDRESS})",
            rf"^(?:Connection (?:closed|reset) by|Disconnected from) (?:.* )?({_ADDRESS})(?: |$)",
            rf"\[({_ADDRESS})\]",
        ),
        *_found(
            "result",
            "message",
            _REPEATED + r"(?:Accepted |Successful |(?:pam_\w+\([^)]*\): )?session opened for user )",
            word="success",
        ),
        *_found(
            "result",
            "message",
            _REPEATED + r"(?:\w+: )?(?i:failed|invalid|illegal) ",
            r"authentication failure|check pass; user unknown|incorrect password|maximum authentication attempts",
            r"(?i)not allowed|not in the sudoers|(?:permission|access) denied|break-in attempt",
            word="failure",
        ),
    ),
)
"""RFC 5424, the older form without year and zone, and the newer one of rsyslog; logins as sshd, PAM, sudo and su write them."""

ACCESS_LOG = LineFormat(
    patterns=tuple(
        r"(?:(?P<host>[^\s:]+:\d+) )?(?P<client>[^\s,]+(?:, [^\s,]+)*+) (?:-|(?P<identity>\S+)) (?:-|(?P<user>[^\[]+?)) "
        rf'\[(?P<time>[^\]]+)\] "(?:-|(?P<request>{_QUOTED}))" (?P<status>\d{{3}}) (?:-|(?P<bytes>\d+)){more}\s*'
        for more in (
            "",
            rf' "(?:-|(?P<referrer>{_QUOTED}))" "(?:-|(?P<agent>{_QUOTED}))"(?: (?P<more>.*))?',
            rf' "(?:-|(?P<referrer>{_QUOTED}))" "(?P<agent>.*)"',
        )
    ),
    derived=(
        *_found("method", "request", r"^([A-Z][A-Z-]*) \S"),
        *_found("path", "request", r"^[A-Z][A-Z-]* (\S+)"),
    ),
)
"""Common, combined with whatever a server adds, and combined with quotes in the agent that are not escaped."""

GIT_COMMAND = "git log --pretty=tformat:'%H%x09%aI%x09%cI%x09%an%x09%ae%x09%P%x09%s'"
GIT_LOG = LineFormat(
    patterns=(
        "\t".join(
            (
                r"(?P<commit>[0-9a-f]{40,64})",
                r"(?P<author_date>[^\t]+)",
                r"(?P<commit_date>[^\t]+)",
                r"(?P<author>[^\t]+)?",
                r"(?P<email>[^\t]+)?",
                r"(?P<parents>[0-9a-f ]*)",
                r"(?P<subject>.*)",
            )
        ),
    ),
    derived=_found("kind", "parents", " ", word="merge"),
)
"""What `GIT_COMMAND` writes."""
