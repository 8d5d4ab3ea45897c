"""A few records of each format that a preset reads, made up in the shape that its producer documents, and their events."""

from typing import Any, NamedTuple


class Sample(NamedTuple):
    """The text of a file, the options that a person has to add, and the events (without attrs and nulls) it becomes."""

    text: str
    events: list[dict[str, Any]]
    options: dict[str, Any] = {}  # noqa: RUF012 -- never changed


CLOUDTRAIL = Sample(
    """{"Records": [
  {"eventVersion": "1.08", "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ann",
   "userName": "ann"}, "eventTime": "2026-11-24T07:00:00Z", "eventSource": "s3.amazonaws.com", "eventName": "GetObject",
   "awsRegion": "eu-north-1", "sourceIPAddress": "192.0.2.7", "errorCode": "AccessDenied", "requestParameters":
   {"bucketName": "ledger", "key": "2026.csv"}, "responseElements": null, "requestID": "R1", "eventID": "e-1",
   "readOnly": true, "resources": [{"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::ledger/2026.csv"}]},
  {"eventVersion": "1.08", "userIdentity": {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
   "eventTime": "2026-11-24T07:00:01Z", "eventSource": "sts.amazonaws.com", "eventName": "AssumeRole",
   "sourceIPAddress": "ec2.amazonaws.com", "requestParameters": {"roleArn": "arn:aws:iam::111122223333:role/app"},
   "eventID": "e-2"},
  {"eventVersion": "1.08", "userIdentity": {"type": "IAMUser", "principalId": "AIDA7", "userName": "bob"},
   "eventTime": "2026-11-24T07:00:02Z", "eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin",
   "sourceIPAddress": "192.0.2.8", "requestParameters": null, "responseElements": {"ConsoleLogin": "Failure"},
   "errorMessage": "Failed authentication", "eventID": "e-3"}
]}
""",
    [
        {
            "ts": "2026-11-24T07:00:00Z",
            "actor": "arn:aws:iam::111122223333:user/ann",
            "action": "GetObject",
            "resource": "arn:aws:s3:::ledger/2026.csv",
            "outcome": "AccessDenied",
            "source": "cloudtrail",
            "origin": "192.0.2.7",
            "correlation": "R1",
            "id": "e-1",
        },
        {
            "ts": "2026-11-24T07:00:01Z",
            "actor": "ec2.amazonaws.com",
            "action": "AssumeRole",
            "resource": "arn:aws:iam::111122223333:role/app",
            "outcome": "success",
            "source": "cloudtrail",
            "origin": "ec2.amazonaws.com",
            "id": "e-2",
        },
        {
            "ts": "2026-11-24T07:00:02Z",
            "actor": "AIDA7",
            "action": "ConsoleLogin",
            "resource": "signin.amazonaws.com",
            "outcome": "failure",
            "source": "cloudtrail",
            "origin": "192.0.2.8",
            "id": "e-3",
        },
    ],
)

KUBERNETES = Sample(
    '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-1","stage":"ResponseComplete",'
    '"requestURI":"/api/v1/namespaces/pay/secrets/card","verb":"get","user":{"username":"system:serviceaccount:pay:web",'
    '"groups":["system:authenticated"]},"sourceIPs":["192.0.2.7","10.0.0.1"],"userAgent":"kubectl/v1.31",'
    '"objectRef":{"resource":"secrets","namespace":"pay","name":"card","apiVersion":"v1"},'
    '"responseStatus":{"metadata":{},"status":"Failure","reason":"Forbidden","code":403},'
    '"requestReceivedTimestamp":"2026-11-24T07:00:00.123456Z","stageTimestamp":"2026-11-24T07:00:00.130000Z",'
    '"annotations":{"authorization.k8s.io/decision":"forbid"}}\n'
    '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-2","stage":"RequestReceived",'
    '"requestURI":"/healthz","verb":"get","user":{"username":"system:anonymous"},"sourceIPs":["10.0.0.1"],'
    '"requestReceivedTimestamp":"2026-11-24T07:00:01.000000Z","stageTimestamp":"2026-11-24T07:00:01.000000Z"}\n',
    [
        {
            "ts": "2026-11-24T07:00:00.123456Z",
            "actor": "system:serviceaccount:pay:web",
            "action": "get",
            "resource": "/api/v1/namespaces/pay/secrets/card",
            "outcome": "403",
            "source": "kubernetes",
            "origin": "192.0.2.7",
            "correlation": "a-1",
        },
        {
            "ts": "2026-11-24T07:00:01Z",
            "actor": "system:anonymous",
            "action": "get",
            "resource": "/healthz",
            "source": "kubernetes",
            "origin": "10.0.0.1",
            "correlation": "a-2",
        },
    ],
)

OKTA = Sample(
    '[{"uuid":"o-1","published":"2026-11-24T07:00:00.123Z","eventType":"user.session.start","version":"0","severity":"INFO",'
    '"displayMessage":"User login to Okta","actor":{"id":"00u1","type":"User","alternateId":"ann@firm.example",'
    '"displayName":"Ann"},"client":{"ipAddress":"192.0.2.7","userAgent":{"browser":"FIREFOX"}},'
    '"outcome":{"result":"FAILURE","reason":"INVALID_CREDENTIALS"},"target":[{"id":"0oa1","type":"AppInstance",'
    '"alternateId":"Payroll","displayName":"Payroll"}],"transaction":{"type":"WEB","id":"t-1"}},\n'
    '{"uuid":"o-2","published":"2026-11-24T07:00:01.000Z","eventType":"user.session.end","actor":{"id":"00u1","type":"User",'
    '"alternateId":"ann@firm.example"},"client":{"ipAddress":"192.0.2.7"},"outcome":{"result":"SUCCESS"},"target":null,'
    '"transaction":{"type":"WEB","id":"t-2"}}]\n',
    [
        {
            "ts": "2026-11-24T07:00:00.123Z",
            "actor": "ann@firm.example",
            "action": "user.session.start",
            "resource": "Payroll",
            "outcome": "FAILURE",
            "source": "okta",
            "origin": "192.0.2.7",
            "correlation": "t-1",
            "id": "o-1",
        },
        {
            "ts": "2026-11-24T07:00:01Z",
            "actor": "ann@firm.example",
            "action": "user.session.end",
            "outcome": "SUCCESS",
            "source": "okta",
            "origin": "192.0.2.7",
            "correlation": "t-2",
            "id": "o-2",
        },
    ],
)

GITHUB = Sample(
    '{"@timestamp":1795503600123,"_document_id":"g-1","action":"repo.destroy","actor":"ann","actor_ip":"192.0.2.7",'
    '"created_at":1795503600123,"operation_type":"remove","org":"firm","repo":"firm/ledger","request_id":"R1","user_agent":"x"}\n'
    '{"@timestamp":1795503601000,"_document_id":"g-2","action":"org.add_member","actor":"ann","created_at":1795503601000,'
    '"org":"firm","user":"bob"}\n',
    [
        {
            "ts": "2026-11-24T07:00:00.123Z",
            "actor": "ann",
            "action": "repo.destroy",
            "resource": "firm/ledger",
            "source": "github",
            "origin": "192.0.2.7",
            "correlation": "R1",
            "id": "g-1",
        },
        {
            "ts": "2026-11-24T07:00:01Z",
            "actor": "ann",
            "action": "org.add_member",
            "resource": "firm",
            "source": "github",
            "id": "g-2",
        },
    ],
)

GHARCHIVE = Sample(
    '{"id":"31","type":"PushEvent","actor":{"id":1,"login":"ann","url":"u"},"repo":{"id":2,"name":"ann/notes","url":"u"},'
    '"payload":{"push_id":9,"size":3,"ref":"refs/heads/main"},"public":true,"created_at":"2026-11-24T07:00:00Z"}\n'
    '{"id":"32","type":"IssuesEvent","actor":{"id":1,"login":"bob","url":"u"},"repo":{"id":2,"name":"ann/notes","url":"u"},'
    '"payload":{"action":"opened","issue":{"number":7}},"public":true,"created_at":"2026-11-24T07:00:01Z"}\n',
    [
        {
            "ts": "2026-11-24T07:00:00Z",
            "actor": "ann",
            "action": "PushEvent",
            "resource": "ann/notes",
            "source": "gharchive",
            "id": "31",
            "value": 3.0,
        },
        {
            "ts": "2026-11-24T07:00:01Z",
            "actor": "bob",
            "action": "IssuesEvent",
            "resource": "ann/notes",
            "outcome": "opened",
            "source": "gharchive",
            "id": "32",
        },
    ],
)

JOURNAL = Sample(
    '{"__CURSOR":"s=1;i=1","__REALTIME_TIMESTAMP":"1795503600123456","_BOOT_ID":"b1","_HOSTNAME":"web1","_UID":"1000",'
    '"SYSLOG_IDENTIFIER":"sudo","_SYSTEMD_UNIT":"session-3.scope","_AUDIT_LOGINUID":"1000","PRIORITY":"5",'
    '"MESSAGE":"ann : TTY=pts/0 ; USER=root ; COMMAND=/bin/ls"}\n'
    '{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1795503601000000","_BOOT_ID":"b1","_HOSTNAME":"web1","_UID":"0",'
    '"SYSLOG_IDENTIFIER":"systemd","UNIT":"nginx.service","_SYSTEMD_UNIT":"init.scope","JOB_RESULT":"failed",'
    '"INVOCATION_ID":"i7","MESSAGE":[70,97,105,108,255]}\n',
    [
        {
            "ts": "2026-11-24T07:00:00.123456Z",
            "actor": "1000",
            "action": "sudo",
            "resource": "session-3.scope",
            "source": "journald",
            "origin": "web1",
            "id": "s=1;i=1",
        },
        {
            "ts": "2026-11-24T07:00:01Z",
            "actor": "0",
            "action": "systemd",
            "resource": "nginx.service",
            "outcome": "failure",
            "source": "journald",
            "origin": "web1",
            "correlation": "i7",
            "id": "s=1;i=2",
        },
    ],
)

SYSLOG = Sample(
    "Dec 31 23:59:59 web1 kernel: [   12.345678] eth0: link up\n"
    "Jan  1 00:00:00 web1 app[42]: order 7 paid\n"
    "2026-01-01T01:00:01.5+01:00 web1 app[42]: order 8 paid\n"
    '<165>1 2026-01-01T00:00:02.003Z web1 app 42 ID47 [a@32473 k="v"] order 9 paid\n',
    [
        {"ts": "2025-12-31T23:59:59Z", "action": "kernel", "resource": "web1", "source": "syslog"},
        {"ts": "2026-01-01T00:00:00Z", "action": "app", "resource": "web1", "source": "syslog"},
        {"ts": "2026-01-01T00:00:01.5Z", "action": "app", "resource": "web1", "source": "syslog"},
        {"ts": "2026-01-01T00:00:02.003Z", "action": "app", "resource": "web1", "source": "syslog"},
    ],
    {"year": 2025, "tz": "UTC"},
)

LOGINS = Sample(
    "Nov 24 07:00:00 web1 sshd[1291]: Accepted publickey for ann from 192.0.2.7 port 50022 ssh2: ED25519 SHA256:x\n"
    "Nov 24 07:00:01 web1 sshd[1292]: Failed password for invalid user root from 10.9.8.7 port 1 from 192.0.2.8 port 22 ssh2\n"
    "Nov 24 07:00:02 web1 sudo:      ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/bin/cat /etc/shadow\n"
    "Nov 24 07:00:03 web1 CRON[1300]: pam_unix(cron:session): session opened for user root by (uid=0)\n"
    "Nov 24 07:00:04 web1 sshd[1293]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= "
    "rhost=2001:db8::7  user=bob\n"
    "Nov 24 07:00:05 web1 sshd[1294]: Server listening on 0.0.0.0 port 22.\n"
    "Nov 24 07:00:06 web1 systemd-logind[7]: New session 858 of user ann.\n"
    "Nov 24 07:00:07 web1 sshd[1295]: Invalid user  from 192.0.2.9 port 7\n"
    "Nov 24 07:00:08 web1 sshd[1296]: Failed password for invalid user session opened for user root from 192.0.2.8 port 22\n",
    [
        {
            "ts": "2025-11-24T07:00:00Z", "actor": "ann", "action": "sshd", "resource": "web1", "outcome": "success",
            "source": "syslog", "origin": "192.0.2.7",
        },
        {
            "ts": "2025-11-24T07:00:01Z", "actor": "root from 10.9.8.7 port 1", "action": "sshd", "resource": "web1",
            "outcome": "failure", "source": "syslog", "origin": "192.0.2.8",
        },
        {"ts": "2025-11-24T07:00:02Z", "actor": "ann", "action": "sudo", "resource": "web1", "source": "syslog"},
        {
            "ts": "2025-11-24T07:00:03Z", "actor": "root", "action": "CRON", "resource": "web1", "outcome": "success",
            "source": "syslog",
        },
        {
            "ts": "2025-11-24T07:00:04Z", "actor": "bob", "action": "sshd", "resource": "web1", "outcome": "failure",
            "source": "syslog", "origin": "2001:db8::7",
        },
        {"ts": "2025-11-24T07:00:05Z", "action": "sshd", "resource": "web1", "source": "syslog"},
        {"ts": "2025-11-24T07:00:06Z", "actor": "ann", "action": "systemd-logind", "resource": "web1", "source": "syslog"},
        {
            "ts": "2025-11-24T07:00:07Z", "action": "sshd", "resource": "web1", "outcome": "failure",
            "source": "syslog", "origin": "192.0.2.9",
        },
        {
            "ts": "2025-11-24T07:00:08Z", "actor": "session opened for user root", "action": "sshd", "resource": "web1",
            "outcome": "failure", "source": "syslog", "origin": "192.0.2.8",
        },
    ],
    {"year": 2025, "tz": "UTC"},
)  # fmt: skip

ACCESS_LOG = Sample(
    '192.0.2.7 - ann [24/Nov/2026:08:00:00 +0100] "POST /orders/7?x=1 HTTP/1.1" 403 512 "https://firm.example/" "Firefox/140"\n'
    '192.0.2.8 - - [24/Nov/2026:07:00:01 +0000] "GET / HTTP/1.0" 304 -\n'
    'shop.example:443 192.0.2.9 - - [24/Nov/2026:07:00:02 +0000] "\\x16\\x03\\x01" 400 226 "-" "-"\n'
    '192.0.2.10, 10.0.0.1 - - [24/Nov/2026:07:00:03 +0000] "-" 408 - "-" "-" 0.004 "say \\"hi\\""\n'
    '2001:db8::7 - Ann Lee [24/Nov/2026:07:00:04 +0000] "M-SEARCH * HTTP/1.1" 200 1 "-" "an "odd" agent"\n',
    [
        {
            "ts": "2026-11-24T07:00:00Z", "actor": "ann", "action": "POST", "resource": "/orders/7?x=1", "outcome": "403",
            "source": "access-log", "origin": "192.0.2.7", "value": 512.0,
        },
        {
            "ts": "2026-11-24T07:00:01Z", "actor": "192.0.2.8", "action": "GET", "resource": "/", "outcome": "304",
            "source": "access-log", "origin": "192.0.2.8",
        },
        {
            "ts": "2026-11-24T07:00:02Z", "actor": "192.0.2.9", "action": "request", "resource": "\\x16\\x03\\x01",
            "outcome": "400", "source": "access-log", "origin": "192.0.2.9", "value": 226.0,
        },
        {
            "ts": "2026-11-24T07:00:03Z", "actor": "192.0.2.10, 10.0.0.1", "action": "request", "outcome": "408",
            "source": "access-log", "origin": "192.0.2.10, 10.0.0.1",
        },
        {
            "ts": "2026-11-24T07:00:04Z", "actor": "Ann Lee", "action": "M-SEARCH", "resource": "*", "outcome": "200",
            "source": "access-log", "origin": "2001:db8::7", "value": 1.0,
        },
    ],
)  # fmt: skip

OTLP = Sample(
    """{"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
  "scopeLogs": [{"scope": {"name": "orders"}, "logRecords": [
    {"timeUnixNano": "1795503600123456789", "severityText": "INFO", "eventName": "order.paid",
     "traceId": "5b8efff798038103d269b633813fc60c", "body": {"stringValue": "paid"}, "attributes": [
       {"key": "enduser.id", "value": {"stringValue": "ann"}}, {"key": "client.address", "value": {"stringValue": "192.0.2.7"}},
       {"key": "order", "value": {"intValue": "7"}}]},
    {"observedTimeUnixNano": "1795503601000000000", "severityText": "ERROR", "body": {"stringValue": "no card"},
     "attributes": [{"key": "event.name", "value": {"stringValue": "order.refused"}},
     {"key": "error.type", "value": {"stringValue": "CardDeclined"}}]}]}]}]}
""",
    [
        {
            "ts": "2026-11-24T07:00:00.123456Z", "actor": "ann", "action": "order.paid", "source": "shop", "origin": "192.0.2.7", "correlation": "5b8efff798038103d269b633813fc60c",
        },
        {"ts": "2026-11-24T07:00:01Z", "action": "order.refused", "outcome": "CardDeclined", "source": "shop"},
    ],
)  # fmt: skip

CLOUDEVENTS = Sample(
    '{"specversion":"1.0","id":"c-1","source":"/shop","type":"order.paid","subject":"order/7","time":"2026-11-24T07:00:00Z",'
    '"authid":"ann","authtype":"user","traceparent":"00-4bf9-00f0-01","datacontenttype":"application/json","data":{"sum":12}}\n'
    '{"specversion":"1.0","id":"c-1","source":"/depot","type":"parcel.sent","time":"2026-11-24T08:00:01+01:00"}\n',
    [
        {
            "ts": "2026-11-24T07:00:00Z", "actor": "ann", "action": "order.paid", "resource": "order/7", "source": "/shop",
            "correlation": "00-4bf9-00f0-01", "id": "c-1",
        },
        {"ts": "2026-11-24T07:00:01Z", "action": "parcel.sent", "source": "/depot", "id": "c-1"},
    ],
)  # fmt: skip

XES = Sample(
    '<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="1849-2016" xmlns="http://www.xes-standard.org/">\n'
    '<trace><string key="concept:name" value="order 7"/><event><string key="concept:name" value="pay"/>'
    '<string key="org:resource" value="ann"/><string key="lifecycle:transition" value="complete"/>'
    '<date key="time:timestamp" value="2026-11-24T08:00:00.000+01:00"/></event></trace></log>\n',
    [
        {
            "ts": "2026-11-24T07:00:00Z", "actor": "ann", "action": "pay", "resource": "order 7", "outcome": "complete",
            "source": "xes", "correlation": "order 7",
        },
    ],
)  # fmt: skip

XES_CSV = Sample(
    "case:concept:name,concept:name,lifecycle:transition,org:resource,time:timestamp\n"
    "order 7,pay,complete,ann,2026-11-24 08:00:00.000000+01:00\n",
    [
        {
            "ts": "2026-11-24T07:00:00Z", "actor": "ann", "action": "pay", "resource": "order 7", "outcome": "complete",
            "source": "xes", "correlation": "order 7",
        },
    ],
)  # fmt: skip

PARENT = "9" * 40
GIT = Sample(
    f"{'a' * 40}\t2026-11-24T08:00:00+01:00\t2026-11-25T07:00:00Z\tAnn\tann@firm.example\t{PARENT}\tMend the ledger\n"
    f"{'b' * 40}\t2026-11-24T07:00:01Z\t2026-11-24T07:00:01Z\tBob\tbob@firm.example\t{PARENT} {'a' * 40}\tMerge\ttabs\n"
    f"{PARENT}\t2026-11-24T06:00:00-00:30\t2026-11-24T07:00:01Z\tBob\t\t\t\n",
    [
        {
            "ts": "2026-11-24T07:00:00Z",
            "actor": "ann@firm.example",
            "action": "commit",
            "source": "git",
            "id": "a" * 40,
        },
        {
            "ts": "2026-11-24T07:00:01Z",
            "actor": "bob@firm.example",
            "action": "merge",
            "source": "git",
            "id": "b" * 40,
        },
        {"ts": "2026-11-24T06:30:00Z", "actor": "Bob", "action": "commit", "source": "git", "id": PARENT},
    ],
)

PANTHER = Sample(
    '{"p_log_type":"Slack.AuditLogs","p_event_time":"2026-11-24 07:00:03.000000000","action":"user_login","date_create":"redacted",'
    '"actor":{"user":{"email":"ann@firm.example"}},"context":{"ip_address":"192.0.2.9"},"entity":{"type":"user"}}\n',
    [
        {
            "ts": "2026-11-24T07:00:03Z", "actor": "ann@firm.example", "action": "user_login", "resource": "user",
            "source": "Slack.AuditLogs", "origin": "192.0.2.9",
        },
    ],
)  # fmt: skip

PANTHER_TESTS = Sample(
    '{"log_type":"GitHub.Audit","log":{"actor":"ann","action":"repo.destroy","created_at":1795503600123,"repo":"firm/x"}}\n'
    '{"log_type":"Okta.SystemLog","log":{"actor":{"alternateid":"bob@firm.example"},"eventtype":"user.session.start",'
    '"published":"2026-11-24 07:00:01.123","outcome":{"result":"FAILURE"},"client":{"ipaddress":"192.0.2.7"},"target":[]}}\n'
    '{"log_type":"GSuite.ActivityEvent","log":{"id":{"applicationName":"drive","time":"2026-11-24 07:00:02.123456789"},'
    '"actor":{"email":"eve@firm.example"},"name":"download","ipAddress":"192.0.2.8"}}\n',
    [
        {
            "ts": "2026-11-24T07:00:00.123Z", "actor": "ann", "action": "repo.destroy", "resource": "firm/x",
            "source": "GitHub.Audit",
        },
        {
            "ts": "2026-11-24T07:00:01.123Z", "actor": "bob@firm.example", "action": "user.session.start",
            "outcome": "FAILURE", "source": "Okta.SystemLog", "origin": "192.0.2.7",
        },
        {
            "ts": "2026-11-24T07:00:02.123456Z", "actor": "eve@firm.example", "action": "download", "resource": "drive",
            "source": "GSuite.ActivityEvent", "origin": "192.0.2.8",
        },
    ],
)  # fmt: skip

SAMPLES = {
    "cloudtrail": CLOUDTRAIL,
    "kubernetes": KUBERNETES,
    "okta": OKTA,
    "github": GITHUB,
    "gharchive": GHARCHIVE,
    "journald": JOURNAL,
    "syslog": Sample(LOGINS.text + SYSLOG.text, LOGINS.events + SYSLOG.events, SYSLOG.options),
    "access-log": ACCESS_LOG,
    "otlp": OTLP,
    "cloudevents": CLOUDEVENTS,
    "xes": XES,
    "xes-csv": XES_CSV,
    "git": GIT,
    "panther": PANTHER,
    "panther-tests": PANTHER_TESTS,
}
