"""The explorer in a notebook: an anywidget that asks `Questions` what the browser selects.

`shown` is what every view of the widget draws: the selection, its answer, its first page and its code.  It is one value, so that
a second view, or a notebook opened again, shows the last state without asking.  The browser sends one question at a time:
`ask` (a selection and a zoom), after which `shown` has the same `n`; `page`, `event` and `find` are answered by a message with
the same `op` and `n`; a view that says `drawn` is on the screen, whereupon codes are loaded in a thread, and `gone` no more: with the last one go the codes.
`rested` says that nothing was selected for a moment, whereupon the outputs beside the widget follow.  `failed` says in words what went wrong.

Messages come in the kernel's main thread or in one of a subshell, even at once: all of them are answered under one lock.
What comes from the browser is checked before it is used, and nothing of it is run or becomes a path.
"""

import threading
from collections.abc import Mapping
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import polars as pl
from msgspec import Meta, Struct

from auditkit.charts import Figure
from auditkit.charts.axes import fold
from auditkit.charts.figure import DARK, REST
from auditkit.display.tables import Table
from auditkit.errors import AuditError
from auditkit.explorer.questions import Questions
from auditkit.explorer.selection import FACETS, Facet, Selection, read_zoom
from auditkit.explorer.still import first_rows, picture
from auditkit.text import counted, visible
from auditkit.timerange import check_zone, from_us
from auditkit.where.vocabulary import failing
from auditkit.where.words import describe_where

try:
    import anywidget
    from IPython import get_ipython
    from IPython.display import DisplayHandle, display
    from traitlets import Dict
except ModuleNotFoundError as exc:
    missing = AuditError("explore: anywidget, which shows it, is not installed")
    missing.add_note("install it: pip install '.[lab]', or auditkit-trail[lab]")
    raise missing from exc

PAGE = 50
"""How many events a page has."""
_HERE = Path(__file__).parent
_PUBLIC = ("code", "frame", "where", "window")


class _Ask(Struct, tag_field="op", tag="ask"):
    n: int
    selection: Any
    zoom: Any = None


class _Page(Struct, tag_field="op", tag="page"):
    n: int
    offset: Annotated[int, Meta(ge=0, le=1 << 53)]


class _Event(Struct, tag_field="op", tag="event"):
    n: int
    seq: Annotated[int, Meta(ge=0, le=1 << 62)]


class _Find(Struct, tag_field="op", tag="find"):
    n: int
    facet: Facet
    text: Annotated[str, Meta(max_length=1_000)]


class _Notice(Struct, tag_field="op", tag="notice"):
    what: Literal["drawn", "rested", "gone"]


_Message = _Ask | _Page | _Event | _Find | _Notice


class Explorer(anywidget.AnyWidget):
    """Events of a trail to look through by time, by value and by word; `Trail.explore` makes it.

    What is selected in the notebook is what the attributes and methods give to the next cell.

    Attributes
    ----------
    where : dict
        The conditions that are selected, as every question of a trail takes them.
    window : tuple of datetime or None
        Start and end that are selected, in the explorer's zone.
    """

    _esm = _HERE / "explore.js"
    _css = _HERE / "explore.css"
    meta = Dict().tag(sync=True)
    shown = Dict().tag(sync=True)

    def __init__(self, trail: Any, name: str, questions: Questions) -> None:
        self._trail = trail
        self._questions = questions
        self._lock = threading.RLock()
        self._selection = Selection()  # guarded by _lock
        self._stills: list[DisplayHandle] = []  # guarded by _lock
        self._views = 0  # guarded by _lock
        shown = self._answered(0, Selection(), None)
        super().__init__(shown=shown, meta=self._described(name, shown))
        self.on_msg(self._heard)

    def frame(self) -> pl.DataFrame:
        """Return the selected events, oldest first, as the copied code does."""
        with self._lock:
            return self._questions.frame(self._selection)

    @property
    def where(self) -> dict[str, Any]:
        """The conditions that are selected, with those that the explorer was opened with."""
        with self._lock:
            return self._selection.where(self._questions.base)

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        """Start and end that are selected; None where there is no bound."""
        with self._lock:
            found = self._selection.within(self._questions.window)
        zone = check_zone(self._questions.tz)
        bounds = (
            None if us is None else from_us(us).astimezone(zone) for us in (found.start_us, found.end_us)
        )
        start, end = bounds
        return start, end

    def code(self) -> str:
        """Return the call that gives the selected events."""
        with self._lock:
            return self._questions.code(self._selection, _name_of(self._trail))

    def close(self) -> None:
        """Give back what it holds in memory; what is on the screen stays as it is."""
        self._questions.close()
        super().close()

    def __repr__(self) -> str:
        shown = self.shown
        return f"<Explorer: {shown['total']:,} of {counted(shown['all'], 'event')}; {self.code()}>"

    def __dir__(self) -> list[str]:
        return [*_PUBLIC]

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the live widget and nothing else: the words for it are the outputs beside it."""
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return {mime: value for mime, value in data.items() if mime != "text/plain"}, metadata

    def _ipython_display_(self, **_: Any) -> None:
        """Show the widget, and beside it what stays where no kernel runs."""
        with self._lock:
            display(self._repr_mimebundle_()[0], raw=True)  # type: ignore[no-untyped-call]
            handles = [display(still, display_id=True) for still in self._still()]  # type: ignore[no-untyped-call]
            self._stills += [
                handle for handle in handles if handle is not None
            ]  # None: nothing that could be updated

    def _still(self) -> tuple[Figure, Table]:
        tz, words = self._questions.tz, describe_where(self.where)
        if self._selection.brush is not None:
            start, end = self.window
            words += f", {start:%Y-%m-%d %H:%M:%S %Z} to {end:%Y-%m-%d %H:%M:%S %Z}"
        return picture(self.shown, words, tz), first_rows(self.shown, tz)

    def _described(self, name: str, shown: Mapping[str, Any]) -> dict[str, Any]:
        """Return what stays the same: the trail, its zone, and how outcomes look."""
        # An outcome looks the same whatever the counts: as its name alone says, failure first of failures.
        values = [row[0] for row in shown["facets"]["outcome"]["rows"]]
        drawn = set(shown["outcomes"])
        ordered = sorted(
            {*values, "success", "failure"},
            key=lambda value: (value != "failure", value not in drawn, value or ""),
        )
        frame = pl.DataFrame(
            {"outcome": ordered, "count": range(len(ordered), 0, -1)},
            schema={"outcome": pl.String(), "count": pl.Int64()},
        )
        groups = fold(frame, "outcome", most=frame.height)
        colours = dict(zip(groups.names, groups.colours, strict=True))
        failures = set(failing(frame["outcome"]))
        return {
            "name": visible(name),
            "tz": self._questions.tz,
            "end_seq": self._questions.end_seq,
            "facets": list(FACETS),
            "page": PAGE,
            "span": self._questions.span,
            "base": describe_where(self._questions.base) if self._questions.base else "",
            "outcomes": [
                [value, colours[name], DARK[colours[name]], value in failures]
                for value, name in zip(ordered, groups.row, strict=True)
                if value in values
            ],
            "rest": [REST, DARK[REST]],
        }

    def _answered(self, n: int, selection: Selection, zoom: tuple[int, int] | None) -> dict[str, Any]:
        """Return what is shown of a selection, which is the one selected from now on."""
        answer = self._questions.answer(selection, zoom)
        rows = self._questions.page(selection, 0, PAGE)
        self._selection = selection
        name = _name_of(self._trail)
        codes = {"events": self._questions.code(selection, name)}
        if answer["every"] is not None:
            codes["over time"] = self._questions.code(selection, name, by="outcome", every=answer["every"])
        codes |= {f"by {facet}": self._questions.code(selection, name, by=facet) for facet in FACETS}
        state = {"n": n, "selection": msgspec.to_builtins(selection), "zoom": zoom}
        return {**state, **answer, "rows": rows, "codes": codes}

    def _heard(self, _widget: object, content: object, _buffers: object) -> None:
        """Answer a message from the browser."""
        n = content.get("n") if isinstance(content, dict) else None
        with self._lock:
            try:
                reply = self._reply(msgspec.convert(content, _Message))
            except KeyboardInterrupt:
                reply = {"op": "failed", "text": "interrupted"}
            except Exception as exc:  # whatever it is, the one who selects must see it
                reply = {"op": "failed", "text": visible(f"{type(exc).__name__}: {exc}")}
        if reply is not None:
            self.send({**reply, "n": n})

    def _reply(self, message: _Message) -> dict[str, Any] | None:
        questions, selection = self._questions, self._selection
        match message:
            case _Ask():
                zoom = None if message.zoom is None else read_zoom(message.zoom)
                self.shown = self._answered(message.n, Selection.read(message.selection), zoom)
            case _Page():
                return {
                    "op": "page",
                    "rows": questions.page(selection, message.offset, PAGE),
                    "offset": message.offset,
                }
            case _Event():
                return {"op": "event", "event": questions.event(message.seq)}
            case _Find():
                found = questions.find(selection, message.facet, message.text)
                return {"op": "find", "facet": message.facet, "text": message.text, **found}
            case _Notice(what="rested"):
                for handle, still in zip(self._stills, cycle(self._still()), strict=False):
                    handle.update(still)  # type: ignore[no-untyped-call]
            case _Notice(what="drawn"):
                self._views += 1
                if self._views == 1:
                    threading.Thread(target=self._load, name="auditkit-explorer", daemon=True).start()
            case _Notice():
                self._views -= 1
                if self._views == 0:
                    questions.close()
        return None

    def _load(self) -> None:
        try:
            found = self._questions.load()
        except Exception as exc:  # the questions are answered as before, only slower
            found = {"note": visible(f"{type(exc).__name__}: {exc}")}
        self.send({"op": "loaded", **found})


def _name_of(trail: Any) -> str:
    """Return what the notebook calls a trail; where it has no name there, the code that opens it."""
    shell = get_ipython()
    names = list(shell.user_ns.items()) if shell is not None else []
    kind, place = type(trail), (trail.path, trail.tz, None)
    same = (
        name
        for name, value in names
        if name[0] != "_" and type(value) is kind and (value.path, value.tz, value.view.at) == place
    )
    zone = "" if trail.tz == trail.handle.info.tz else f", tz={trail.tz!r}"
    return next(same, f"ak.open({str(trail.path)!r}{zone})")
