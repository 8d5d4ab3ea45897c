r"""Free text: words that occur somewhere in an event, in its resource or its attrs.

Attrs are searched as their JSON reads once its escapes are undone, keys and values alike, so that neither `\u00e9` nor
`\"` hides what it stands for.  Upper and lower case count as the same by Unicode's simple case folding, which is what
`(?i)` means to Polars, and `regexp_matches(…, 'i')` to DuckDB.
"""

from collections.abc import Collection, Sequence

import polars as pl

from auditkit.errors import InvalidQueryError
from auditkit.where.paths import ATTRS
from auditkit.where.values import escape_regex

TEXT = "text"
"""The key of a mapping under which words are looked for."""
SEARCHED = ("resource", ATTRS)
"""The columns that are searched."""
MOST_CHARACTERS = 1_000
MOST_WORDS = 20
"""What one search may have: each word is looked for in every event."""

_QUOTED = {r"\\": r"\\", r"\"": r"\"", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
"""How JSON text becomes the inside of a JSON string whose escapes are those that the text had."""


def has_words(texts: Sequence[str], columns: Collection[str]) -> pl.Expr:
    r"""Return whether all words of one of the texts occur in the columns, each in any of them; never null.

    >>> frame = pl.DataFrame({"resource": ["invoice/17", None], "attrs": ['{"by": "Andr\\u00e9"}', '{"n": 17}']})
    >>> frame.select(has_words(["17 ANDRÉ"], frame.columns)).to_series().to_list()
    [True, False]
    """
    searched = [
        _unescaped(pl.col(name)) if name == ATTRS else pl.col(name).cast(pl.String) for name in columns
    ]
    found = [pl.all_horizontal(_occurs(word, searched) for word in words) for words in _words_of(texts)]
    return pl.any_horizontal(found) if found else pl.lit(value=False)


def _occurs(word: str, columns: Sequence[pl.Expr]) -> pl.Expr:
    pattern = f"(?i){escape_regex(word)}"
    return pl.any_horizontal(column.str.contains(pattern).fill_null(value=False) for column in columns)


def _words_of(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of each text; raise `InvalidQueryError` where there is none, or too much of them."""
    name, size = f"where {TEXT}", sum(map(len, texts))
    if size > MOST_CHARACTERS:
        raise InvalidQueryError(name, f"{size:,} characters", f"has more than {MOST_CHARACTERS:,}")
    found = [list(dict.fromkeys(text.split())) for text in texts]
    if [] in found:
        raise InvalidQueryError(name, texts[found.index([])], "holds no word")
    if sum(map(len, found)) > MOST_WORDS:
        raise InvalidQueryError(name, f"{sum(map(len, found))} words", f"has more than {MOST_WORDS}")
    return found


def _unescaped(attrs: pl.Expr) -> pl.Expr:
    """Return JSON text with its escapes undone; what is no JSON stays as it is."""
    escaped = pl.when(attrs.str.contains("\\", literal=True)).then(attrs)
    inside = escaped.str.replace_many(_QUOTED, leftmost=True)
    return pl.coalesce(pl.format('"{}"', inside).str.json_path_match("$"), attrs)
