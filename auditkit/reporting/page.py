"""An executed notebook as the page that the template lays out: first screen, steps, provenance.

Everything here comes out of a notebook and is untrusted; it becomes text, or HTML by way of `markdown` and `chart`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from markupsafe import Markup
from msgspec import Struct

from auditkit import __version__
from auditkit.reporting.chart import FigureBlock
from auditkit.reporting.cover import Check, CoverModel, Prepared, checks, moment_words
from auditkit.reporting.markdown import anchored, highlighted, written
from auditkit.reporting.notebooks import describe_code, has_tag
from auditkit.reporting.outputs import Block, CoverBlock, blocks
from auditkit.reporting.packed import page_data
from auditkit.text import visible

Status = Literal["complete", "failed", "unfinished"]

STANDARD = frozenset({"trail", "start", "end", "where", "tz", "as_of"})
"""Parameters that the first screen states in words."""

LEAD = "timeline"
"""The tag of the cell whose output stands under the answer."""

_TITLE = re.compile(r"\A\s*#[ \t]+(.+?)[ \t]*#*[ \t]*(?:\n|\Z)")


class Code(Struct, frozen=True, kw_only=True):
    """The source of one code cell; `number` is its execution count, None if it was not run."""

    number: int | None
    source: Markup
    note: str


class Step(Struct, frozen=True, kw_only=True):
    """A stretch of the notebook: prose, or outputs and the code that led to them.

    `headings` are identifiers and texts of what the prose is divided by.
    """

    prose: Markup | None = None
    headings: tuple[tuple[str, str], ...] = ()
    blocks: tuple[Block, ...] = ()
    code: tuple[Code, ...] = ()
    failed: bool = False
    lead: bool = False


class Failure(Struct, frozen=True, kw_only=True):
    """Which cell raised what."""

    number: int | None
    name: str
    message: str


class Page(Struct, frozen=True, kw_only=True):
    """Everything that a report shows; `logic` and `digest` are the notebook's code in words and its SHA-256.

    `lead` is what the cell tagged `timeline` shows, which stands under the answer and not among the steps.  `events`
    are those of the scope, packed for the page's script.
    """

    title: str
    status: Status
    failure: Failure | None
    cover: CoverModel | None
    prepared: Prepared | None
    logic: str
    digest: str
    checks: tuple[Check, ...]
    events: str | None
    lead: Step | None
    steps: tuple[Step, ...]
    parameters: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def contents(self) -> tuple[tuple[str, str], ...]:
        """Identifiers and texts of the parts that the table of contents names."""
        summary = (("summary", "Summary"),) if self.cover and self.cover.summary else ()
        parts = (heading for step in self.steps for heading in step.headings)
        return (*summary, ("scope", "Scope and population"), *parts, ("provenance", "Provenance"))

    @property
    def live(self) -> bool:
        """Whether there is a chart for a script to draw."""
        steps = self.steps if self.lead is None else (self.lead, *self.steps)
        shown = (block for step in steps for block in step.blocks)
        return any(isinstance(block, FigureBlock) and block.live is not None for block in shown)


def make_page(notebook: Any, *, name: str, static: bool = False) -> Page:
    """Return the page of an executed notebook; `name` is the file's, without its ending; `static` has no scripts."""
    cells = [cell for cell in notebook.cells if cell.source.strip()]
    made = [
        tuple(blocks(cell.get("outputs", []), prefix=f"c{at}", static=static))
        for at, cell in enumerate(cells)
    ]
    shown_cover = next((block for found in made for block in found if isinstance(block, CoverBlock)), None)
    title = _title(cells, shown_cover, name)
    failure = find_failure(notebook)
    parameters = _mapping(_mapping(notebook.metadata.get("papermill")).get("parameters"))
    source = _source_name(notebook, name)
    logic, digest = describe_code(notebook.cells, source)
    steps = tuple(_steps(cells, made, title, _language(notebook)))
    return Page(
        title=title,
        status="failed" if failure else "unfinished" if unfinished(notebook) else "complete",
        failure=failure,
        cover=shown_cover.model if shown_cover else None,
        prepared=shown_cover.prepared if shown_cover else None,
        logic=logic,
        digest=digest,
        checks=_checks(shown_cover, source, parameters),
        events=None if static else _events(shown_cover),
        lead=next((step for step in steps if step.lead), None),
        steps=tuple(step for step in steps if not step.lead),
        parameters=tuple(
            (visible(key), visible(json.dumps(value, ensure_ascii=False)))
            for key, value in parameters.items()
        ),
        provenance=_provenance(notebook, source, shown_cover.model.zone if shown_cover else "UTC"),
    )


def find_failure(notebook: Any) -> Failure | None:
    """Return the first failure in an executed notebook, if any."""
    return next(filter(None, map(_failure, notebook.cells)), None)


def unfinished(notebook: Any) -> bool:
    """Return whether a cell with code was not run."""
    return any(_not_run(cell) for cell in notebook.cells)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _not_run(cell: Any) -> bool:
    return bool(cell.cell_type == "code" and cell.source.strip() and cell.get("execution_count") is None)


def _failure(cell: Any) -> Failure | None:
    error = next((output for output in cell.get("outputs", []) if output.output_type == "error"), None)
    if error is None or has_tag(cell, "raises-exception"):
        return None
    name, message = visible(str(error.ename)), visible(str(error.evalue))
    return Failure(number=cell.get("execution_count"), name=name, message=message)


def _title(cells: Sequence[Any], shown_cover: CoverBlock | None, name: str) -> str:
    if shown_cover is not None:
        return visible(shown_cover.model.title)
    first = next((cell.source for cell in cells if cell.cell_type == "markdown"), "")
    heading = _TITLE.match(first)
    return visible(heading[1] if heading else name)


def _source_name(notebook: Any, name: str) -> str:
    """Return what the notebook was called when it was run."""
    run = _mapping(notebook.metadata.get("auditkit")).get("notebook")
    given = run or _mapping(notebook.metadata.get("papermill")).get("input_path") or f"{name}.ipynb"
    return str(given)


def _checks(shown_cover: CoverBlock | None, source: str, parameters: Mapping[str, Any]) -> tuple[Check, ...]:
    if shown_cover is None or shown_cover.prepared is None:
        return ()
    others = {key: value for key, value in parameters.items() if key not in STANDARD}
    return checks(shown_cover.model, path=shown_cover.prepared.path, notebook=source, parameters=others)


def _events(shown_cover: CoverBlock | None) -> str | None:
    if shown_cover is None or shown_cover.events is None:
        return None
    try:
        return page_data(shown_cover.events, shown_cover.model.zone)
    except ValueError:  # the zone is none, in a notebook that was changed
        return None


def _language(notebook: Any) -> str:
    return str(_mapping(notebook.metadata.get("language_info")).get("name", "python"))


def _steps(
    cells: Sequence[Any], made: Sequence[Sequence[Block]], title: str, language: str
) -> Iterator[Step]:
    """Yield the notebook in its order; code that shows nothing joins the code of the next output.

    The heading that begins its first markdown is left out: the page's own stands in its place.
    """
    opening = next((cell for cell in cells if cell.cell_type == "markdown"), None)
    waiting: list[Code] = []
    led = False
    for number, (cell, found) in enumerate(zip(cells, made, strict=True)):
        if cell.cell_type == "markdown":
            heading = _TITLE.match(cell.source)
            repeats = heading is not None and (cell is opening or visible(heading[1]) == title)
            prose = written(cell.source[heading.end() :] if heading and repeats else cell.source)
            if prose.strip():
                prose, headings = anchored(prose, f"h{number}")
                yield Step(prose=prose, headings=headings)
        elif cell.cell_type == "code":
            waiting.append(_code(cell, language))
            shown = tuple(block for block in found if not isinstance(block, CoverBlock))
            if shown:
                failed = _failure(cell) is not None
                leads = not failed and not led and has_tag(cell, LEAD)
                yield Step(blocks=shown, code=tuple(waiting), failed=failed, lead=leads)
                waiting, led = [], led or leads
    if waiting:
        yield Step(code=tuple(waiting))


def _code(cell: Any, language: str) -> Code:
    note = "not run" if _not_run(cell) else ""
    if has_tag(cell, "injected-parameters"):
        note = "parameters of this run"
    elif has_tag(cell, "parameters"):
        note = "parameters left out"
    return Code(number=cell.get("execution_count"), source=highlighted(cell.source, language), note=note)


def _provenance(notebook: Any, source: str, zone: str) -> tuple[tuple[str, str], ...]:
    info = _mapping(notebook.metadata.get("language_info"))
    run = _mapping(notebook.metadata.get("papermill"))
    rows = [
        ("Notebook", source),
        (
            "Run",
            moment_words(str(run["start_time"]), zone) if run.get("start_time") else "when is not recorded",
        ),
        ("Language", f"{info.get('name', 'unknown')} {info.get('version', '')}".strip()),
        ("Rendered by", f"auditkit {__version__}"),
    ]
    return tuple((name, visible(value)) for name, value in rows)
