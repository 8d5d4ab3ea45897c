"""Idempotency: an event with an id is accepted once per (source, id) within the window.

The window holds everything unflushed and the last `WINDOW` keyed events, across processes and restarts.  Only
tokens are kept: digests of the key and of the body.  Events without an id are never merged.
"""

import struct
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from auditkit.errors import InvalidEventError
from auditkit.event import BODY_BYTES, KEY_BYTES, Row

WINDOW = 100_000
_SEQ_BYTES = 8
_ENTRY = struct.Struct(f"<{KEY_BYTES}s{BODY_BYTES}sQ")


class Known(Struct, frozen=True):
    """An accepted event: its seq and the digest of its body."""

    seq: int
    body: bytes


class Verdict(Struct):
    """What became of one batch: the rows that are new, in order, and what the others repeat.

    `refused` are positions whose key is taken by another body, with the error that says so.
    """

    rows: list[Row] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    refused: list[tuple[int, InvalidEventError]] = field(default_factory=list)


class DedupIndex:
    """The keys of the window, in the order of their seqs."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}

    def learn(self, tokens: Sequence[bytes | None] | None, first_seq: int) -> None:
        """Take in the tokens of committed events with seqs from `first_seq` on."""
        for offset, token in enumerate(tokens or ()):
            if token is not None:
                self._known[token[:KEY_BYTES]] = Known(first_seq + offset, token[KEY_BYTES:])

    def learn_packed(self, packed: bytes) -> None:
        """Take in entries that `pack_entries` wrote."""
        for key, body, seq in _ENTRY.iter_unpack(packed):
            self._known[key] = Known(seq, body)

    def forget_before(self, flushed_seq: int) -> None:
        """Drop the oldest flushed keys beyond the window."""
        excess = len(self._known) - WINDOW
        if excess <= 0:
            return
        oldest = sorted(self._known.items(), key=lambda item: item[1].seq)[:excess]
        for key, known in oldest:
            if known.seq < flushed_seq:
                del self._known[key]

    def judge(self, batches: Iterable[tuple[Sequence[Row], bool]], next_seq: int) -> list[Verdict]:
        """Decide, as if events came one by one, what of each batch is new; seqs count from `next_seq`.

        Each batch comes with whether it is taken whole or not at all: such a batch loses all its rows when one
        is refused.  Nothing is learned: the caller does that once the rows are durable.
        """
        fresh: dict[bytes, Known] = {}
        verdicts = []
        for rows, whole in batches:
            added: dict[bytes, Known] = {}
            verdict = self._judge_batch(rows, next_seq, fresh, added)
            if verdict.refused and whole:
                verdict.rows, verdict.repeats, added = [], [], {}
            fresh.update(added)
            next_seq += len(verdict.rows)
            verdicts.append(verdict)
        return verdicts

    def _judge_batch(
        self, rows: Sequence[Row], next_seq: int, fresh: dict[bytes, Known], added: dict[bytes, Known]
    ) -> Verdict:
        verdict = Verdict()
        for position, row in enumerate(rows):
            token: bytes | None = row[-1]
            seq = next_seq + len(verdict.rows)
            if token is None:
                verdict.rows.append(row)
                continue
            key, body = token[:KEY_BYTES], token[KEY_BYTES:]
            known = added.get(key) or fresh.get(key) or self._known.get(key)
            if known is None:
                added[key] = Known(seq, body)
                verdict.rows.append(row)
            elif known.body == body:
                verdict.repeats.append(known.seq)
            else:
                verdict.refused.append((position, _conflict(row, known.seq, seq)))
        return verdict


def pack_entries(tokens: Iterable[tuple[bytes, int]]) -> bytes:
    """Return (token, seq) pairs as the bytes that the catalog keeps per flush."""
    return b"".join(token + seq.to_bytes(_SEQ_BYTES, "little") for token, seq in tokens)


def _conflict(row: Row, first: int, seq: int) -> InvalidEventError:
    key = row[8]  # ts, then the text fields in their order
    return InvalidEventError(
        "id",
        key,
        f"seq {first} has this source and id with another body; as seq {seq} it would be another event",
    )
