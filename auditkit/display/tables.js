// Tables, in a report and in JupyterLab.  This only sorts their rows, shows those that are asked for, page by page, and
// writes them as CSV.  Text stays text: nothing is made into markup.

const PAGE_ROWS = 25;
const PRINTED_ROWS = 100; // as the style sheet has it
const UNBROKEN = 24; // as auditkit breaks texts
const LONG = 400; // and has them scroll
const AFTER_SIGNS = /(?<=[/:.@_=&?,;\\])(?=[^\s/:.@_=&?,;\\])/;
const DURATION = /^-?\d+(?:ms|µs|ns|[wdhms])(?: \d+(?:ms|µs|ns|[wdhms]))*$/; // as Polars writes them
const UNIT_S = { w: 604800, d: 86400, h: 3600, m: 60, s: 1, ms: 1e-3, "µs": 1e-6, ns: 1e-9 };
const NUMBER = /^-?[\d,]+(\.\d+)?(e[+-]?\d+)?$/;
const SIGNS = "[=+\\-@\\uff1d\\uff0b\\uff0d\\uff20\\ufe66\\ufe62\\ufe63\\ufe6b]"; // as auditkit.query.to_csv has them
const FORMULA = new RegExp(`^(?=\\s*${SIGNS}|[\\t\\r\\n])|(?<=[;\\t\\r\\n])(?=(?:[^\\S\\t\\r\\n]|")*${SIGNS})`, "g");
const SANDBOXED = location.protocol.startsWith("http") && origin === "null"; // as a Jupyter server shows a file
const alphabet = new Intl.Collator("en", { numeric: true });
const grouped = new Intl.NumberFormat("en");

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/**
 * Make a table searchable, sortable, paged and exportable; `narrow` shows only some of its rows.
 * Its rows are those of its body, or what `makeRows` makes for its columns.
 */
function enhanceTable(figure, makeRows) {
  const table = figure.querySelector("table");
  const body = table.tBodies[0];
  const title = figure.dataset.title;
  const columns = [...table.tHead.rows[0].cells].map(readColumn);
  const rows = makeRows ? makeRows(columns) : [...body.rows].map(readRow);
  const extent = figure.dataset.extent;
  const times = rows.filter((row) => row.at !== null);
  const outside = extent.startsWith("first") ? beyond(times) : () => false;
  const state = { query: "", column: null, descending: false, page: 0, holds: null, words: "", spans: [], joined: false };

  const search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const status = make("output");
  const csv = make("button", { type: "button", textContent: "CSV" });
  csv.setAttribute("aria-label", `Save as CSV: ${title}`);
  const tools = make("div", { className: "tools" }, make("label", {}, "Search ", search), status, csv);
  search.setAttribute("aria-label", `Search in ${title}`);
  figure.querySelector("figcaption").after(tools);

  const back = make("button", { type: "button", textContent: "Back" });
  const next = make("button", { type: "button", textContent: "Next" });
  const where = make("span");
  const pager = make("nav", { className: "pager" }, back, where, next);
  pager.setAttribute("aria-label", `Pages of ${title}`);
  figure.append(pager);
  figure.classList.add("paged");

  function found() {
    const words = state.query.toLowerCase();
    const kept = rows.filter(
      (row) =>
        (!words || row.cells.some((cell) => cell.toLowerCase().includes(words))) &&
        (!state.holds || state.holds(row)),
    );
    if (state.column === null) return kept;
    const order = comparison(rows, state.column, columns[state.column].kind);
    const sign = state.descending ? -1 : 1;
    return kept.sort((a, b) => missingLast(a, b, state.column) ?? sign * order(a, b));
  }

  function show() {
    const kept = found();
    const pages = Math.max(1, Math.ceil(kept.length / PAGE_ROWS));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * PAGE_ROWS;
    const here = new Set(kept.slice(first, first + PAGE_ROWS));
    const built = [...new Set([...kept.slice(0, PRINTED_ROWS), ...here])]; // the first ones are there for paper
    for (const row of built) {
      row.element ??= rowElement(row, columns);
      row.element.hidden = !here.has(row);
    }
    body.replaceChildren(...built.map((row) => row.element));
    const asked = state.query || state.holds;
    status.textContent = asked ? foundWords(kept.length) : "";
    where.textContent = `Page ${grouped.format(state.page + 1)} of ${grouped.format(pages)}, ${asked ? "of what is found" : extent}`;
    back.disabled = state.page === 0;
    next.disabled = state.page === pages - 1;
    pager.hidden = pages === 1;
    const printed = figure.querySelector(".printed");
    const some = Math.min(kept.length, PRINTED_ROWS);
    const words = `On paper: ${grouped.format(some)} of ${grouped.format(kept.length)} rows, ${among()}.`;
    printed.textContent = asked || some < kept.length || extent.startsWith("first") ? words : "";
  }

  /** How many rows are found; where the table holds only the first and more may lie in the selected time, that too. */
  function foundWords(count) {
    const words = `${grouped.format(count)} found in ${among()}${state.words}`;
    if (state.joined && count) return `${words}. These rows have events among those selected; their figures are those of all events shown.`;
    if (!state.spans.some(outside)) return words;
    const column = columns.findIndex(({ kind }) => kind === "time");
    const [from, to] = [times[0].cells[column], times.at(-1).cells[column]];
    return `${words}. This table does not cover all of the selected time: its rows go from ${from} to ${to}.`;
  }

  function among() {
    return extent.startsWith("first") ? `the ${extent}` : extent;
  }

  function sortBy(number) {
    const again = state.column === number;
    if (again && state.descending) state.column = null;
    else state.column = number;
    state.descending = again && !state.descending;
    state.page = 0;
    columns.forEach(({ cell }, at) => {
      if (at === state.column) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    show();
  }

  function save() {
    if (SANDBOXED) return (status.textContent = "This server lets a page save no files: download the report, and open it from disk.");
    const kept = found();
    const asked = state.query || state.holds ? `${grouped.format(kept.length)} found in ${extent}` : extent;
    const lines = [columns.map(({ heading }) => csvCell(heading, "text")), ...kept.map(csvCells)];
    const text = "\ufeff" + lines.map((cells) => cells.join(",") + "\r\n").join("");
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    make("a", { href: address, download: `${fileName(title)} (${asked}).csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address));
  }

  function csvCells(row) {
    return row.cells.map((cell, at) => (row.missing[at] ? "" : csvCell(cell, columns[at].kind)));
  }

  columns.forEach(({ cell }, number) => {
    const button = make("button", { type: "button" }, ...cell.childNodes);
    button.addEventListener("click", () => sortBy(number));
    cell.replaceChildren(button);
  });
  search.addEventListener("input", () => {
    Object.assign(state, { query: search.value.trim(), page: 0 });
    show();
  });
  back.addEventListener("click", () => (state.page--, show()));
  next.addEventListener("click", () => (state.page++, show()));
  csv.addEventListener("click", save);
  show();

  /**
   * Show only the rows for which `holds`, or all where it is null.  `words` say which these are, `spans` the stretches of
   * time that they are of, and `joined` that a row is told by events of its own.
   */
  function narrow({ holds = null, words = "", spans = [], joined = false }) {
    Object.assign(state, { holds, words, spans, joined, page: 0 });
    show();
  }

  return { figure, columns, timed: times.length > 0, narrow };
}

/** How much of the whole a table holds, as auditkit words it. */
function extentWords(count, total) {
  const rows = `${grouped.format(total)} row${total === 1 ? "" : "s"}`;
  return count < total ? `first ${grouped.format(count)} of ${rows}` : rows;
}

/** A column: `heading` is all of its heading, `name` what stands before the zone of its times. */
function readColumn(cell) {
  const heading = cell.textContent;
  return { name: cell.className === "time" ? heading.split(" (")[0] : heading, heading, kind: cell.className, cell };
}

function rowElement({ cells, missing, at }, columns) {
  const element = make("tr");
  if (at !== null) element.dataset.at = at;
  cells.forEach((words, number) => {
    const { kind } = columns[number];
    const parts = kind === "text" ? breakable(words) : [words];
    const long = words.length > LONG && !missing[number] ? make("div", { className: "long", tabIndex: 0 }, ...parts) : null;
    const classes = [kind === "text" ? "" : kind, missing[number] ? "none" : ""].filter(Boolean).join(" ");
    element.append(make("td", classes ? { className: classes } : {}, ...(long ? [long] : parts)));
  });
  return element;
}

/** Text that may be broken behind signs, or where it is longer than any word; as auditkit writes it. */
function breakable(text) {
  if (text.length <= UNBROKEN) return [text];
  const parts = text.split(AFTER_SIGNS).flatMap((run) => (/\S{33}/.test(run) ? run.match(/\S{1,32}\s*|\s+/g) : [run]));
  return parts.flatMap((part, number) => (number ? [make("wbr"), part] : [part]));
}

/** Whether the first rows of a table in the order of time, or against it, leave out a part of a stretch of time. */
function beyond(rows) {
  const last = rows.at(-1)?.at;
  if (rows.every(({ at }, place) => place === 0 || rows[place - 1].at <= at)) return ([, end]) => end > last;
  if (rows.every(({ at }, place) => place === 0 || rows[place - 1].at >= at)) return ([start]) => start <= last;
  return () => false;
}

function readRow(element) {
  const cells = [...element.cells];
  return {
    element,
    at: element.dataset.at === undefined ? null : Number(element.dataset.at),
    cells: cells.map((cell) => cell.textContent),
    missing: cells.map((cell) => cell.classList.contains("none")),
  };
}

function missingLast(a, b, column) {
  return a.missing[column] || b.missing[column] ? a.missing[column] - b.missing[column] : null;
}

function seconds(text) {
  const parts = [...text.matchAll(/(\d+)([^\d ]+)/g)].map(([, count, unit]) => count * UNIT_S[unit]);
  return (text.startsWith("-") ? -1 : 1) * parts.reduce((sum, part) => sum + part, 0);
}

function comparison(rows, column, kind) {
  if (rows.every((row) => row.missing[column] || DURATION.test(row.cells[column])))
    return (a, b) => seconds(a.cells[column]) - seconds(b.cells[column]);
  if (kind !== "number") return (a, b) => alphabet.compare(a.cells[column], b.cells[column]);
  const value = (row) => row.cells[column].replaceAll(",", "");
  const integer = /^-?\d+$/;
  return (a, b) => {
    const [one, two] = [value(a), value(b)];
    // Seqs may be larger than what a float tells apart.
    if (integer.test(one) && integer.test(two)) return BigInt(one) < BigInt(two) ? -1 : BigInt(one) > BigInt(two) ? 1 : 0;
    return Number(one.replace("inf", "Infinity")) - Number(two.replace("inf", "Infinity")) || 0;
  };
}

/** One cell of a CSV file: numbers as they are, what a spreadsheet would run as a formula behind an apostrophe. */
function csvCell(text, kind) {
  if (kind === "number" && NUMBER.test(text)) return text.replaceAll(",", "");
  const stored = /^".*"$/.test(text) ? text.slice(1, -1) : text; // quotes mark text that could pass for something else
  const safe = stored.replaceAll(FORMULA, "'");
  return /[",;\r\n\t]|^$|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function fileName(title) {
  return title.replace(/[^\p{L}\p{N}_-]+/gu, " ").trim().slice(0, 60) || "table";
}

export { enhanceTable, extentWords, make, rowElement };
