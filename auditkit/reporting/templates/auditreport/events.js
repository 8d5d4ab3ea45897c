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
