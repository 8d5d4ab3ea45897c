"""Dead letters and consumers' files whose checksums are all right, and whose content is not."""

import json
import zlib
from collections.abc import Callable

from tests.forge.place import Place
from tests.forge.trails import letter_bytes, letter_line, put_slots, slot_line

_HUGE = 1 << 70


def _letters(place: Place, *lines: bytes) -> None:
    (place.trail / "dead-letters" / "2026-11-24.jsonl").write_bytes(b"".join(lines))


def _lines(*lines: bytes) -> Callable[[Place], None]:
    return lambda place: _letters(place, *lines)


def _letter(**fields: object) -> Callable[[Place], None]:
    return _lines(letter_line(**fields))


def _body(body: bytes) -> Callable[[Place], None]:
    return _lines(letter_bytes(body))


def _long_line(place: Place) -> None:
    """A line of 4 GB, most of it holes."""
    path = place.trail / "dead-letters" / "2026-11-24.jsonl"
    with path.open("wb") as file:
        file.truncate(4 << 30)
        file.seek(0, 2)
        file.write(b"\n")


def _slots(*lines: bytes) -> Callable[[Place], None]:
    return lambda place: put_slots(place.trail, *lines)


def _position(**fields: object) -> Callable[[Place], None]:
    known = {
        "generation": 1,
        "next_seq": 4_430,
        "missed": 0,
        "given_up": 0,
        "moved_us": 1_795_500_000_000_000,
    }
    return _slots(slot_line(**{**known, **fields}))


def _attempt(**fields: object) -> Callable[[Place], None]:
    known = {
        "generation": 1,
        "next_seq": 4_430,
        "missed": 0,
        "given_up": 0,
        "moved_us": 1_795_500_000_000_000,
    }
    attempt = {"seq": 4_430, "count": 1, "reason": None}
    return _slots(slot_line(**known), b" " * 512, slot_line(**{**attempt, **fields}))


def _raw_slot(text: str) -> Callable[[Place], None]:
    """A line with any JSON, its checksum as `json.dumps` of it gives."""

    def make(place: Place) -> None:
        try:
            crc = zlib.crc32(json.dumps(json.loads(text)).encode())
        except ValueError:
            crc = 0
        body = f'{text[:-1]}, "crc": {crc}}}'
        put_slots(place.trail, body.encode().ljust(511)[:511] + b"\n")

    return make


def _other_consumers(place: Place) -> None:
    known = {"generation": 1, "next_seq": 1, "missed": 0, "given_up": 0, "moved_us": 1_795_500_000_000_000}
    for name in ("\x1b[2J", "UPPER", "a b", "x" * 200, ".", "..x", "\u202eabc", "a\nb"):
        put_slots(place.trail, slot_line(**known), name=name)


def _many_consumers(place: Place) -> None:
    known = {"generation": 1, "next_seq": 1, "missed": 0, "given_up": 0, "moved_us": 1_795_500_000_000_000}
    for number in range(500):
        put_slots(place.trail, slot_line(**known), name=f"consumer-{number}")


def _long_consumer(place: Place) -> None:
    with (place.trail / "consumers" / "mailer.jsonl").open("ab") as file:
        file.truncate(8 << 30)


_DEEP = b'{"recorded_us":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
_WRONG = {
    "a float": 1.5,
    "text": "7",
    "a list": [1],
    "null": None,
    "true": True,
    "huge": _HUGE,
    "negative": -5,
}

LINE_CASES: dict[str, Callable[[Place], None]] = {
    **{f"letter: recorded_us is {what}": _letter(recorded_us=value) for what, value in _WRONG.items()},
    **{f"letter: line is {what}": _letter(line=value) for what, value in _WRONG.items()},
    **{f"letter: seq is {what}": _letter(consumer="mailer", seq=value) for what, value in _WRONG.items()},
    "letter: recorded_us is of year 300,000": _letter(recorded_us=1 << 62),
    "letter: reason is a number": _letter(reason=7),
    "letter: reason is an escape": _letter(reason="\x1b[2J\x1b]0;x\x07"),
    "letter: consumer is a number": _letter(consumer=7, seq=1),
    "letter: consumer is a path": _letter(consumer="../../outside/secret", seq=1),
    "letter: input is an object": _letter(input={"action": "a"}),
    "letter: input is deep": _letter(input='{"action":' * 100_000),
    "letter: input is deep and whole": _letter(input='{"a":' * 100_000 + "1" + "}" * 100_000),
    "letter: input is a list": _letter(input="[1,2]"),
    "letter: input is a long number": _letter(input='{"action":"a","value":' + "9" * 100_000 + "}"),
    "letter: input of 30 MB": _letter(input="x" * 30_000_000),
    "letter: unknown field": _letter(colour="red"),
    "letter: damaged says so": _letter(damaged="maybe"),
    "letter: nothing in it": _body(b"{}"),
    "letter: a list": _body(b"[1]"),
    "letter: no JSON": _body(b"not JSON}"),
    "letter: deep": _body(_DEEP),
    "letter: deep objects": _body(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "letter: long number": _body(b'{"recorded_us":' + b"9" * 100_000 + b',"reason":"a"}'),
    "letter: NaN": _body(b'{"recorded_us":NaN,"reason":"a"}'),
    "letter: infinite": _body(b'{"recorded_us":1e999,"reason":"a"}'),
    "letter: not UTF-8": _body(b'{"recorded_us":1,"reason":"\xff\xfe"}'),
    "letter: lone surrogate": _body(b'{"recorded_us":1,"reason":"\\ud800","input":"\\udfff"}'),
    "letter: NUL": _body(b'{"recorded_us":1,"reason":"\\u0000"}'),
    "letter: field twice": _body(b'{"recorded_us":1,"recorded_us":"x","reason":"a"}'),
    "letters: only newlines": _lines(b"\n" * 100_000),
    "letters: NULs": _lines(bytes(5_000_000)),
    "letters: no end": _lines(b"x" * 20_000_000),
    "letters: line of 4 GB": _long_line,
    "letters: 50,000 of them": _lines(letter_line() * 50_000),
    **{
        f"consumer: {field} is {what}": _position(**{field: value})
        for field in ("next_seq", "generation", "moved_us")
        for what, value in _WRONG.items()
    },
    "consumer: missed is text": _position(missed="7"),
    "consumer: given_up is huge": _position(given_up=_HUGE),
    "consumer: next_seq is beyond": _position(next_seq=99_999),
    "consumer: next_seq is 2**63": _position(next_seq=1 << 63),
    "consumer: moved_us is of year 300,000": _position(moved_us=1 << 62),
    "consumer: unknown field": _position(colour="red"),
    "consumer: format is later": _position(format=2),
    "consumer: format is text": _position(format="1"),
    "consumer: no generation": _slots(slot_line(next_seq=1)),
    "consumer: two of a generation": _slots(
        slot_line(generation=1, next_seq=1), slot_line(generation=1, next_seq=2)
    ),
    "consumer: generations of two types": _slots(
        slot_line(generation=1, next_seq=1), slot_line(generation="1", next_seq=2)
    ),
    **{
        f"consumer: attempt's {field} is {what}": _attempt(**{field: value})
        for field in ("seq", "count")
        for what, value in _WRONG.items()
    },
    "consumer: attempt's reason is a number": _attempt(reason=7),
    "consumer: attempt's reason is an escape": _attempt(reason="\x1b[2J"),
    "consumer: attempt without fields": _slots(
        slot_line(generation=1, next_seq=4_430), b" " * 512, slot_line()
    ),
    "consumer: a list": _raw_slot("[1, 2]"),
    "consumer: NaN": _raw_slot('{"format": 1, "generation": NaN, "next_seq": 1}'),
    "consumer: infinite": _raw_slot('{"format": 1, "generation": 1, "next_seq": Infinity}'),
    "consumer: deep": _raw_slot('{"format": 1, "generation": ' + "[" * 200 + "]" * 200 + "}"),
    "consumer: long number": _raw_slot('{"format": 1, "next_seq": 1, "generation": ' + "9" * 300 + "}"),
    "consumer: 8 GB of holes": _long_consumer,
    "consumers: names not ours": _other_consumers,
    "consumers: 500 of them": _many_consumers,
}
