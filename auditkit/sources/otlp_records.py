"""Records out of OTLP's JSON: one for each log record of a request, with its resource and scope beside it.

OTLP spells attributes as lists of `{"key": …, "value": {"stringValue": …}}`; here they are objects with plain values.
Everything else stays as it is.
"""

from collections.abc import Iterator, Mapping
from typing import IO, Any

import msgspec

from auditkit.sources.json_records import json_documents
from auditkit.sources.records import Item, Record, Unreadable


def otlp_records(stream: IO[bytes]) -> Iterator[Item]:
    """Yield the log records of requests, at the line of the element of `resourceLogs` that holds them.

    The bytes of that element are shared out evenly among its records, so that each ends behind the one before.
    """
    begin = 0
    for item in json_documents(stream, ("resourceLogs",)):
        if isinstance(item, Unreadable):
            yield item
        else:
            yield from _shared_out(item, begin)
        begin = item.end


def _shared_out(item: Record, begin: int) -> Iterator[Item]:
    try:
        records = _log_records(item.fields)
        texts = [msgspec.json.encode(fields).decode() for fields in records]
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        reason = "not the resourceLogs of an OTLP request"
        yield Unreadable(item.line, reason, item.text, item.end, item.lines)
        return
    for place, (fields, text) in enumerate(zip(records, texts, strict=True), start=1):
        yield Record(item.line, fields, text, begin + (item.end - begin) * place // len(records), item.lines)


def _log_records(resource_logs: Mapping[str, Any]) -> list[dict[str, Any]]:
    resource = _plain_attributes(resource_logs.get("resource") or {})
    records = []
    for scope_logs in resource_logs["scopeLogs"]:
        scope = _plain_attributes(scope_logs.get("scope") or {})
        for record in scope_logs.get("logRecords") or ():
            fields = _plain_attributes(record)
            if "body" in fields:
                fields["body"] = _plain(fields["body"])
            records.append(fields | {"resource": resource, "scope": scope})
    return records


def _plain_attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(holder)
    if "attributes" in fields:
        fields["attributes"] = _plain_pairs(fields["attributes"])
    return fields


def _plain_pairs(pairs: Any) -> dict[str, Any]:
    return {pair["key"]: _plain(pair.get("value")) for pair in pairs or ()}


def _plain(value: Any) -> Any:
    """Return what an `AnyValue` stands for; JSON writes its 64-bit integers as text.

    >>> _plain({"arrayValue": {"values": [{"intValue": "7"}, {"stringValue": "a"}, {"kvlistValue": {"values": []}}]}})
    [7, 'a', {}]
    """
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    [(kind, inner)] = value.items()
    if kind == "intValue":
        return int(inner) if isinstance(inner, str) and inner.lstrip("-").isdecimal() else inner
    if kind == "arrayValue":
        return [_plain(element) for element in _several(inner)]
    if kind == "kvlistValue":
        return _plain_pairs(_several(inner))
    return inner if kind in ("stringValue", "boolValue", "doubleValue", "bytesValue") else value


def _several(inner: Any) -> Any:
    """Return the elements of an array or a map, which stand in `values`, and in older files without it."""
    return inner if isinstance(inner, list) else inner.get("values") or ()
