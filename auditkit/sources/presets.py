"""Presets: how the records of a well-known kind become events, as data.

A preset is a reader with its options, and a mapping.  What the command line adds goes before it: paths of a field are
tried first, constants and values take the place of the preset's.
"""

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice

from auditkit.errors import AuditError
from auditkit.sources.line_formats import ACCESS_LOG, GIT_COMMAND, GIT_LOG, SYSLOG
from auditkit.sources.readers import Format, ReadOptions, items_of
from auditkit.sources.records import Record
from auditkit.where import parse_path

_LOOKED_AT = 20
_ANY_YEAR = 2000
"""For looking at lines whose times name none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How records of one kind become events."""

    name: str
    title: str
    """What it reads, in a few words."""
    format: Format
    options: ReadOptions = field(default_factory=ReadOptions)
    paths: tuple[tuple[str, str], ...]
    """Pairs of a field and a path; several paths of a field are tried in turn."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """What a field is where no path leads to a value."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of a field, which words of the records are written how in events."""
    ts_form: str | tuple[str, ...] = "iso"
    """As `--ts-format`; of several the first that a time has."""
    tz: str | None = None
    """The zone of times that name none, where the format says which."""
    attrs: str | None = None
    """The path of what becomes attrs; `None` for the whole record."""
    needs: tuple[str, ...]
    """Every record of the kind has a value at each of these paths: by that it is recognised."""
    example: str
    """A record as it stands in a file."""


def recognise(head: bytes) -> Preset | None:
    """Return the first preset that reads the records at the beginning of a file, `None` where none does."""
    return next((preset for preset in PRESETS.values() if _reading(preset, head) is not None), None)


def read_options(preset: Preset, head: bytes) -> ReadOptions:
    """Return how a preset reads a file that begins so: the records may be wrapped as it says, or stand by themselves."""
    return _reading(preset, head) or preset.options


def _reading(preset: Preset, head: bytes) -> ReadOptions | None:
    """Return the options with which the beginning of a file is of the preset's kind, `None` where it is not."""
    wrapped = preset.options
    for options in (replace(wrapped, records=()), wrapped) if wrapped.records else (wrapped,):
        if _fits(preset, options, head):
            return options
    return None


def _fits(preset: Preset, options: ReadOptions, head: bytes) -> bool:
    stream = io.BufferedReader(io.BytesIO(head), max(1, len(head)))
    looked_at = replace(options, year=_ANY_YEAR)
    items = []
    with suppress(ValueError, AuditError):  # no header, no XML, or the file goes on
        for item in islice(items_of(stream, preset.format, looked_at, name="", notes=[]), _LOOKED_AT):
            items.append(item)
    records = [item for item in items if isinstance(item, Record)]
    # The last one may be cut where the look at the file ends.
    return len(records) >= max(1, len(items) - 1) and all(_has(record, preset.needs) for record in records)


def _has(record: Record, needs: tuple[str, ...]) -> bool:
    return all(parse_path(path).find(record.fields) is not None for path in needs)


def _paths(**fields: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of field and path, of which a field may have several, separated by spaces."""
    return tuple((field, path) for field, paths in fields.items() for path in paths.split())


_PROCESS = _paths(
    ts="time:timestamp",
    actor="org:resource",
    action="concept:name",
    resource="case:concept:name",
    outcome="lifecycle:transition",
    correlation="case:concept:name",
    id="identity:id",
    value="cost:total",
)


def _panther(*, name: str, title: str, prefix: str, needs: tuple[str, ...], example: str) -> Preset:
    """Return a preset for events of several services, each with the service's own keys below `prefix`."""
    own = _paths(
        ts="created_at @timestamp at_sign_timestamp published id.time date_create requestReceivedTimestamp eventTime p_event_time",
        actor="actor.alternateId actor.alternateid actor.email actor.user.email actor",
        action="eventType eventtype action name",
        resource="target.0.displayName repo org id.applicationName entity.type",
        outcome="outcome.result",
        origin="client.ipAddress client.ipaddress ipAddress actor_ip context.ip_address",
    )
    return Preset(
        name=name,
        title=title,
        format="json",
        paths=(*((field, prefix + path) for field, path in own), ("source", needs[0])),
        ts_form=("iso", "ms"),
        tz="UTC",
        needs=needs,
        example=example,
    )


_ALL = (
    Preset(
        name="auditkit",
        title="what `auditkit range --json` writes",
        format="json",
        paths=_paths(
            ts="ts",
            actor="actor",
            action="action",
            resource="resource",
            outcome="outcome",
            source="source",
            origin="origin",
            correlation="correlation",
            id="id",
            value="value",
        ),
        attrs="attrs",
        needs=("ts", "recorded", "action"),
        example='{"seq":0,"ts":"2026-11-24T07:00:00Z","recorded":"2026-11-24T07:00:01Z","actor":"ann","action":"doc.read",'
        '"id":"k1","attrs":{"order":7}}',
    ),
    _panther(
        name="panther",
        title="events of many services as Panther keeps them",
        prefix="",
        needs=("p_log_type",),
        example='{"p_log_type":"GitHub.Audit","p_event_time":"2026-11-24 07:00:00.000000000","action":"repo.create","actor":"ann",'
        '"repo":"firm/notes"}',
    ),
    _panther(
        name="panther-tests",
        title="events of many services as they stand in the tests of Panther's rules",
        prefix="log.",
        needs=("log_type", "log"),
        example='{"log_type":"GitHub.Audit","log":{"action":"repo.create","actor":"ann","created_at":1795503600123}}',
    ),
    Preset(
        name="cloudtrail",
        title="AWS CloudTrail: its files as they are, or an event per line",
        format="json",
        options=ReadOptions(records=("Records",)),
        paths=_paths(
            ts="eventTime",
            id="eventID",
            actor="userIdentity.arn userIdentity.invokedBy userIdentity.principalId userIdentity.type",
            action="eventName",
            resource="resources.0.ARN requestParameters.roleArn requestParameters.bucketName eventSource",
            outcome="errorCode responseElements.ConsoleLogin",
            origin="sourceIPAddress",
            correlation="requestID",
        ),
        constants={"outcome": "success", "source": "cloudtrail"},
        values={"outcome": {"Success": "success", "Failure": "failure"}},
        needs=("eventTime", "eventName", "eventSource", "userIdentity"),
        example='{"eventVersion":"1.08","eventTime":"2026-11-24T07:00:00Z","eventName":"GetObject","eventSource":'
        '"s3.amazonaws.com","userIdentity":{"arn":"arn:aws:iam::111122223333:user/ann"},"eventID":"e-1"}',
    ),
    Preset(
        name="kubernetes",
        title="audit log of the Kubernetes API server",
        format="json",
        options=ReadOptions(records=("items",)),
        paths=_paths(
            ts="requestReceivedTimestamp stageTimestamp",
            actor="user.username",
            action="verb",
            resource="requestURI",
            outcome="responseStatus.code",
            origin="sourceIPs.0",
            correlation="auditID",
        ),
        constants={"source": "kubernetes"},
        needs=("auditID", "stage", "verb", "requestURI"),
        example='{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a-1","stage":"ResponseComplete","verb":"get",'
        '"requestURI":"/api/v1/secrets","user":{"username":"ann"},"requestReceivedTimestamp":"2026-11-24T07:00:00.1Z"}',
    ),
    Preset(
        name="okta",
        title="system log of Okta",
        format="json",
        paths=_paths(
            ts="published",
            id="uuid",
            actor="actor.alternateId",
            action="eventType",
            resource="target.0.alternateId target.0.displayName",
            outcome="outcome.result",
            origin="client.ipAddress",
            correlation="transaction.id",
        ),
        constants={"source": "okta"},
        needs=("published", "uuid", "eventType", "actor.alternateId"),
        example='{"uuid":"o-1","published":"2026-11-24T07:00:00.123Z","eventType":"user.session.start","actor":'
        '{"alternateId":"ann@firm.example"},"outcome":{"result":"SUCCESS"},"client":{"ipAddress":"192.0.2.7"}}',
    ),
    Preset(
        name="github",
        title="audit log of a GitHub organisation or enterprise",
        format="json",
        paths=_paths(
            ts="@timestamp created_at",
            id="_document_id",
            actor="actor",
            action="action",
            resource="repo org business",
            outcome="status_code",
            origin="actor_ip",
            correlation="request_id",
        ),
        constants={"source": "github"},
        ts_form="ms",
        needs=("@timestamp", "action", "_document_id"),
        example='{"@timestamp":1795503600123,"_document_id":"g-1","action":"repo.create","actor":"ann","org":"firm"}',
    ),
    Preset(
        name="gharchive",
        title="public events of GitHub, from GH Archive or the events API",
        format="json",
        paths=_paths(
            ts="created_at",
            id="id",
            actor="actor.login",
            action="type",
            resource="repo.name",
            outcome="payload.action",
            value="payload.size",
        ),
        constants={"source": "gharchive"},
        needs=("id", "type", "created_at", "actor.login", "repo.name", "payload"),
        example='{"id":"31","type":"PushEvent","created_at":"2026-11-24T07:00:00Z","actor":{"login":"ann"},"repo":'
        '{"name":"ann/notes"},"payload":{"size":3}}',
    ),
    Preset(
        name="journald",
        title="the systemd journal: journalctl -o json",
        format="json",
        paths=_paths(
            ts="_SOURCE_REALTIME_TIMESTAMP __REALTIME_TIMESTAMP",
            id="__CURSOR",
            actor="_AUDIT_LOGINUID _UID",
            action="SYSLOG_IDENTIFIER _COMM _TRANSPORT",
            resource="UNIT _SYSTEMD_UNIT",
            outcome="JOB_RESULT",
            origin="_HOSTNAME",
            correlation="INVOCATION_ID _SYSTEMD_INVOCATION_ID",
        ),
        constants={"source": "journald"},
        values={"outcome": {"done": "success", "failed": "failure"}},
        ts_form="us",
        needs=("__CURSOR", "__REALTIME_TIMESTAMP"),
        example='{"__CURSOR":"s=1;i=1","__REALTIME_TIMESTAMP":"1795503600123456","_HOSTNAME":"web1","_UID":"1000",'
        '"SYSLOG_IDENTIFIER":"sudo","MESSAGE":"ann : COMMAND=/bin/ls"}',
    ),
    Preset(
        name="syslog",
        title="system logs and logins: syslog, auth.log, secure (--year and --tz where times name none)",
        format="text",
        options=ReadOptions(lines=SYSLOG),
        paths=_paths(
            ts="time",
            actor="user",
            action="program",
            resource="host",
            outcome="result",
            origin="address",
        ),
        constants={"action": "message", "source": "syslog"},
        needs=("time", "message"),
        example="Nov 24 07:00:00 web1 sshd[1291]: Accepted publickey for ann from 192.0.2.7 port 50022 ssh2",
    ),
    Preset(
        name="access-log",
        title="access logs of web servers: common and combined",
        format="text",
        options=ReadOptions(lines=ACCESS_LOG),
        paths=_paths(
            ts="time",
            actor="user client",
            action="method",
            resource="path request",
            outcome="status",
            origin="client",
            value="bytes",
        ),
        constants={"action": "request", "source": "access-log"},
        ts_form="%d/%b/%Y:%H:%M:%S %z",
        needs=("status",),
        example='192.0.2.7 - ann [24/Nov/2026:08:00:00 +0100] "GET /orders/7 HTTP/1.1" 200 512 "-" "Firefox/140"',
    ),
    Preset(
        name="otlp",
        title="OpenTelemetry's logs: requests of OTLP in JSON, one or one per line",
        format="otlp",
        paths=_paths(
            ts="timeUnixNano observedTimeUnixNano",
            actor=r"attributes.enduser\.id attributes.user\.id attributes.user\.name",
            action=r"eventName attributes.event\.name scope.name",
            resource=r"attributes.url\.path attributes.http\.route",
            outcome=r"attributes.error\.type attributes.http\.response\.status_code",
            source=r"resource.attributes.service\.name",
            origin=r"attributes.client\.address",
            correlation="traceId",
        ),
        constants={"action": "log", "source": "otlp"},
        ts_form="ns",
        needs=("resource", "scope"),
        example='{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},'
        '"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795503600123456789","eventName":"order.paid"}]}]}]}',
    ),
    Preset(
        name="cloudevents",
        title="CloudEvents in JSON, one by one or in batches",
        format="json",
        paths=_paths(
            ts="time",
            id="id",
            actor="authid",
            action="type",
            resource="subject",
            source="source",
            correlation="correlationid traceparent",
        ),
        needs=("specversion", "id", "source", "type"),
        example='{"specversion":"1.0","id":"c-1","source":"/shop","type":"order.paid","subject":"order/7",'
        '"time":"2026-11-24T07:00:00Z","data":{"sum":12}}',
    ),
    Preset(
        name="xes",
        title="event logs of process mining in XES",
        format="xes",
        paths=_PROCESS,
        constants={"source": "xes"},
        needs=("time:timestamp", "concept:name"),
        example='<log><trace><string key="concept:name" value="order 7"/><event><string key="concept:name" value="pay"/>'
        '<date key="time:timestamp" value="2026-11-24T07:00:00Z"/></event></trace></log>',
    ),
    Preset(
        name="xes-csv",
        title="event logs of process mining in CSV, with the column names of XES",
        format="csv",
        paths=_PROCESS,
        constants={"source": "xes"},
        needs=("time:timestamp", "concept:name", "case:concept:name"),
        example="case:concept:name,concept:name,org:resource,time:timestamp\n"
        "order 7,pay,ann,2026-11-24 08:00:00+01:00",
    ),
    Preset(
        name="git",
        title=f"the history of a git repository, from {GIT_COMMAND}",
        format="text",
        options=ReadOptions(lines=GIT_LOG),
        paths=_paths(
            ts="author_date",
            id="commit",
            actor="email author",
            action="kind",
        ),
        constants={"action": "commit", "source": "git"},
        needs=("commit", "author_date"),
        example=f"{'9' * 40}\t2026-11-24T08:00:00+01:00\t2026-11-24T08:05:00+01:00\tAnn\tann@firm.example\t\tBegin",
    ),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}
"""All presets, in the order in which they are tried."""
