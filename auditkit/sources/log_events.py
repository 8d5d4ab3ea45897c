"""What a program logs, made events: the fields of an event by their names, everything else as attrs.

Nothing that is logged is lost for its form: objects that JSON has no word for are kept as their `repr`, and so are keys
that are no text.
"""

from collections.abc import Mapping
from typing import Any

from auditkit.auditing import Recorder
from auditkit.event import TEXT_FIELDS
from auditkit.event.attrs import checked_attrs

MAX_ACTION_CHARACTERS = 200
"""Of a message that becomes an action; the whole message is in attrs."""
_MAX_REPR_CHARACTERS = 1_000
_EVENT_FIELDS = frozenset((*TEXT_FIELDS, "ts", "value", "attrs"))


def append_logged(
    recorder: Recorder,
    said: str,
    given: Mapping[str, Any],
    attrs: dict[str, Any],
    *,
    source: str | None,
    action: str,
) -> None:
    """Append one event of this action, unless `given` names another.

    Of `given`, what is no field of an event goes into its `attrs`, and so does what was `said`, where that is not the action.
    """
    trail = recorder.find()
    columns = _EVENT_FIELDS | trail.fields.keys()
    event = {"action": _shortened(action), "source": source}
    for key, value in given.items():
        if key not in columns:
            attrs[key] = value
        elif key == "attrs":
            attrs |= value if isinstance(value, Mapping) else {key: value}
        elif value is not None:
            event[key] = _text(value) if key in TEXT_FIELDS else value
    if (message := _text(said)) != event["action"]:
        attrs.setdefault("message", message)
    recorder.append(trail, {**event, "attrs": _plain(attrs) or None})


def _shortened(message: str) -> str:
    """Return the first line of a message, shortened where it is long."""
    line = _text(message.strip().partition("\n")[0].rstrip())
    return line if len(line) <= MAX_ACTION_CHARACTERS else line[: MAX_ACTION_CHARACTERS - 1] + "…"


def _text(value: object) -> str:
    """Return a value as text that UTF-8 can express; a number that names an actor is text as well."""
    return str(value).encode(errors="backslashreplace").decode()


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        key if isinstance(key, str) and _fits({key: None}) else repr(key): value
        if _fits({"": value})
        else _shown(value)
        for key, value in attrs.items()
    }


def _fits(attrs: Mapping[str, Any]) -> bool:
    try:
        checked_attrs(attrs)
    except Exception:  # what cannot be shown cannot even be refused by name
        return False
    return True


def _shown(value: object) -> str:
    try:
        return _text(repr(value)[:_MAX_REPR_CHARACTERS])
    except Exception:  # what cannot be shown must not hide the rest
        return f"({type(value).__qualname__})"
