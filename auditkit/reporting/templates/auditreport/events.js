// Events.  Those of the report's scope are packed into the page as columns; this unpacks them, and finds which are selected.
// A selection is what is marked in a chart: a `span` of time in microseconds, `hours` of the week, or `labels` of a `column`.

const KEYS = ["actor", "action", "resource", "outcome", "source", "origin"];
const WEEKDAYS = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970 began with a Thursday
const MISSING = "(none)"; // the label of a value that is missing
const US_PER_HOUR = 3_600_000_000;

/** The events of the page, or null where it has none or the browser cannot unpack them. */
async function unpackEvents() {
  const place = document.getElementById("events");
  if (!place) return null;
  try {
    const bytes = Uint8Array.from(atob(place.textContent.trim()), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return readEvents(JSON.parse(await new Response(stream).text()));
  } catch {
    return null;
  }
}

function readEvents({ zone, digits, runs, seq, ts, columns }) {
  const seqs = summed(seq);
  const instants = summed(ts);
  const offsets = runs.flatMap(([count, offset, mark]) => Array(count).fill({ offset, mark }));
  return {
    zone,
    count: seqs.length,
    at: (place) => instants[place],
    offset: (place) => offsets[place].offset,
    /** What a table shows of an event in a column; null where it is missing. */
    text(place, name) {
      if (name === "seq") return grouped.format(seqs[place]);
      if (name === "ts") return localTime(instants[place], offsets[place], digits);
      const { values, codes } = columns[name];
      return codes[place] < 0 ? null : values[codes[place]];
    },
  };
}

function summed(steps) {
  let sum = 0;
  return steps.map((step) => (sum += step));
}

function localTime(us, { offset, mark }, digits) {
  const local = us + offset;
  const text = new Date(Math.floor(local / 1000)).toISOString().replace("T", " ").slice(0, 19);
  const micros = String(((local % 1e6) + 1e6) % 1e6).padStart(6, "0");
  return text + (digits ? `.${micros.slice(0, digits)}` : "") + mark;
}

function within([from, to], at) {
  return at >= from && at < to;
}

/** The hour of the week, as the heat map names it, of a local time in microseconds. */
function hourOfWeek(local) {
  const hour = Math.floor(local / US_PER_HOUR);
  return `${WEEKDAYS[(((Math.floor(hour / 24) % 7) + 7) % 7)]} ${String(((hour % 24) + 24) % 24).padStart(2, "0")}`;
}

/** What all selections together leave of the events: how many, whether one is among them, and which values they have. */
function chosenEvents(events, selections) {
  const known = selections.filter(({ column }) => !column || KEYS.includes(column));
  const kept = [];
  for (let place = 0; place < events.count; place++) {
    const holds = ({ span, hours, column, labels }) => {
      if (span) return within(span, events.at(place));
      if (hours) return hours.has(hourOfWeek(events.at(place) + events.offset(place)));
      return labels.has(events.text(place, column) ?? MISSING);
    };
    if (known.every(holds)) kept.push(place);
  }
  const among = new Set(kept);
  return {
    count: kept.length,
    among: (place) => among.has(place),
    /** The values that chosen events have in some columns, as `joined` writes them. */
    values: (names) => new Set(kept.map((place) => joined(names.map((name) => events.text(place, name))))),
  };
}

function joined(texts) {
  return JSON.stringify(texts);
}

/** Take up a table of the page: one of all events shows those of the page. */
function takeUp(figure, events) {
  const whole = figure.dataset.events ? events : null;
  if (!whole) return { whole, ...enhanceTable(figure) };
  figure.dataset.extent = extentWords(whole.count, whole.count);
  figure.querySelector("figcaption span").textContent = figure.dataset.extent;
  return { whole, ...enhanceTable(figure, (columns) => eventRows(whole, columns, figure.dataset.events === "descending")) };
}

/** The rows of a table of all events: their texts are those of the events, their elements are made when they are shown. */
function eventRows(events, columns, descending) {
  const rows = [];
  for (let place = 0; place < events.count; place++) {
    const texts = columns.map(({ name }) => events.text(place, name));
    rows.push({ place, at: events.at(place), cells: texts.map((one) => one ?? MISSING), missing: texts.map((one) => one === null), element: null });
  }
  return descending ? rows.reverse() : rows;
}

/** Show only the rows of a table that selections leave; `chosen` are the events that they leave, where the page has them. */
function narrow(table, selections, chosen, words) {
  const { columns, whole } = table;
  const has = (name) => columns.some((column) => column.name === name);
  const keys = KEYS.filter(has);
  // A row is a moment of its own by its `ts`; other times are those of a group, which is told by its events.
  const timed = table.timed && (!chosen || !keys.length || has("ts"));
  const direct = selections.filter(({ column }) => (column ? has(column) : timed));
  const values = chosen && keys.length && direct.length < selections.length ? chosen.values(keys) : null;
  const narrows = whole ? selections.length > 0 : direct.length > 0 || values !== null;
  const texts = (row) => keys.map((key) => rowText(columns, row, key));
  const holds = (row) => direct.every((selection) => holdsRow(columns, selection, row)) && (!values || values.has(joined(texts(row))));
  table.narrow({
    holds: narrows ? (whole ? (row) => chosen.among(row.place) : holds) : null,
    words: narrows ? words : "",
    spans: direct.flatMap(({ span }) => (span ? [span] : [])),
    joined: !whole && values !== null,
  });
}

function rowText(columns, row, name) {
  const at = columns.findIndex((column) => column.name === name);
  return row.missing[at] ? null : row.cells[at];
}

function holdsRow(columns, { span, hours, column, labels }, row) {
  if (column) return labels.has(rowText(columns, row, column) ?? MISSING);
  if (row.at === null) return false;
  if (span) return within(span, row.at);
  const shown = row.cells[columns.findIndex(({ kind }) => kind === "time")];
  return hours.has(hourOfWeek(Date.parse(`${shown.slice(0, 10)}T${shown.slice(11, 19)}Z`) * 1000));
}
