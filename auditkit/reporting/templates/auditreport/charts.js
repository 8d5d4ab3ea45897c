// Charts.  Each is drawn by Vega in place of the picture that is printed.  Expressions are interpreted, never compiled,
// and nothing is loaded.  A stretch of a time axis, or marks, can be selected; `changed` is told of each selection.

const refuse = () => Promise.reject(new Error("this report loads nothing"));
const NOWHERE = { load: refuse, sanitize: refuse, http: refuse, file: refuse };

/** Draw the chart of a figure; where that fails its picture stays. */
async function drawChart(figure) {
  const told = JSON.parse(figure.querySelector("script").textContent);
  const place = figure.querySelector(".live");
  const phone = matchMedia("(max-width: 46rem)").matches && told.narrow;
  const spoken = ["role", "aria-label"].map((name) => [name, place.getAttribute(name)]);
  place.hidden = false;
  try {
    const { view } = await vegaEmbed(place, phone ? patched(told.spec, told.narrow) : told.spec, {
      mode: "vega-lite",
      renderer: "svg",
      ast: true,
      actions: false,
      logLevel: 1, // errors only: that a legend is cut short is no news to a reader
      defaultStyle: false,
      loader: NOWHERE,
      tooltip: (_, event, __, value) => showTip(event, value),
      patch: datesAsParts,
      config: { aria: false },
    });
    // Words for who does not see it are the figure's, not one for each of its marks.
    spoken.forEach(([name, words]) => place.setAttribute(name, words));
    place.removeAttribute("aria-roledescription");
    place.firstElementChild.setAttribute("aria-hidden", "true");
    figure.classList.add("drawn");
    if (told.clock) return selectable(figure, view, told);
    return told.pick ? pickable(figure, view, told) : null;
  } catch {
    place.hidden = true;
    return null;
  }
}

/** Vega's interpreter makes a date of its parts only; one that is given as a single number or text becomes `toDate`. */
function datesAsParts(part, key = "") {
  if (typeof part === "string") {
    return ["signal", "update", "init", "test", "expr"].includes(key) ? part.replace(/\bdatetime\(([^(),]+)\)/g, "toDate($1)") : part;
  }
  if (part === null || typeof part !== "object" || key === "values") return part;
  if (Array.isArray(part)) return part.map((one) => datesAsParts(one));
  return Object.fromEntries(Object.entries(part).map(([name, held]) => [name, datesAsParts(held, name)]));
}

function patched(value, patch) {
  const merged = { ...value };
  for (const [key, part] of Object.entries(patch)) {
    merged[key] = part && typeof part === "object" && !Array.isArray(part) ? patched(merged[key], part) : part;
  }
  return merged;
}

const tip = make("div", { className: "tip", hidden: true });
tip.setAttribute("aria-hidden", "true");

function showTip(event, value) {
  tip.hidden = value === null || value === undefined || value === "";
  if (tip.hidden) return;
  const pairs = typeof value === "object" ? Object.entries(value) : [["", value]];
  tip.replaceChildren(
    ...pairs.map(([name, words]) => make("div", {}, make("span", { textContent: name }), make("b", { textContent: words }))),
  );
  if (!tip.isConnected) document.body.append(tip);
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 4))}px`;
  tip.style.top = `${event.clientY + 14 + box.height > innerHeight ? event.clientY - box.height - 14 : event.clientY + 14}px`;
}

/** Let a stretch of a time axis be selected, with a pointer or with arrow keys. */
function selectable(figure, view, { spec, clock }) {
  const place = figure.querySelector(".live");
  const bars = barsOf(spec);
  const chart = { figure, changed: () => {}, clear: () => select(null) };
  let [anchor, head] = [-1, -1];

  function select(span) {
    const x = view.scale("x");
    view.signal("brush_x", span ? span.map(x) : []).runAsync();
  }

  function changed(value) {
    const span = value && value.from ? snapped(bars, value.from) : null;
    if (!span) {
      anchor = head = -1;
      return chart.changed(null);
    }
    const words = `from ${momentWords(span[0])} to ${momentWords(span[1])}, ${clock.zone}`;
    chart.changed({ column: null, span: span.map((at) => instant(clock, at) * 1000), words });
  }

  function keyed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") return chart.clear();
    if (!step || !bars.length) return;
    event.preventDefault();
    head = Math.max(0, Math.min(bars.length - 1, head < 0 && step < 0 ? bars.length - 1 : head + step));
    if (!event.shiftKey || anchor < 0) anchor = head;
    const [first, last] = [Math.min(anchor, head), Math.max(anchor, head)];
    const kept = [anchor, head];
    select([bars[first].from, bars[last].to]);
    [anchor, head] = kept;
  }

  place.addEventListener("keydown", keyed);
  view.addSignalListener("brush", (_, value) => requestAnimationFrame(() => changed(value)));
  return chart;
}

/** Let marks be selected, by a click (with Shift more of them) or with arrow keys. */
function pickable(figure, view, { spec, pick }) {
  const place = figure.querySelector(".live");
  const names = namesOf(spec, pick.field);
  const chart = { figure, changed: () => {}, clear: () => choose([]) };
  let chosen = [];

  function choose(list) {
    chosen = list;
    view.signal("picked", list).runAsync();
    chart.changed(list.length ? selection() : null);
  }

  function selection() {
    const labels = new Set(chosen.map((name) => pick.labels[name] ?? name));
    const some = [...chosen.slice(0, 3), ...(chosen.length > 3 ? [`${chosen.length - 3} more`] : [])].join(", ");
    if (pick.column === null) return { column: null, hours: labels, words: `hour ${some}, ${pick.zone}` };
    return { column: pick.column, labels, words: `${pick.column} ${some}` };
  }

  function clicked(event, item) {
    const named = item?.datum?.[pick.field];
    if (!names.includes(named)) return;
    const more = event.shiftKey || event.ctrlKey || event.metaKey;
    const without = chosen.filter((name) => name !== named);
    if (more) choose(without.length < chosen.length ? without : [...chosen, named]);
    else choose(chosen.length === 1 && !without.length ? [] : [named]);
  }

  function keyed(event) {
    if (event.key === "Escape") return chart.clear();
    const line = pick.field === "cell" ? 24 : 1;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -line, ArrowDown: line }[event.key];
    if (!step) return;
    event.preventDefault();
    const last = names.indexOf(chosen.at(-1));
    const next = last < 0 ? 0 : last + step;
    if (next >= 0 && next < names.length) choose([names[next]]);
  }

  view.addEventListener("click", clicked);
  place.addEventListener("keydown", keyed);
  return chart;
}

/** The names that marks have in a field, each once, in the order in which they are drawn; those that did not fit have none. */
function namesOf(spec, field) {
  const { data, encoding } = spec.layer?.[0] ?? spec;
  const channel = { row: encoding.y, group: encoding.color }[field];
  const names = channel?.scale?.domain ?? [...new Set(data.values.map((value) => value[field]))];
  return names.filter((name) => !/^\(\d+ others?\)$/.test(name));
}

/** The stretches that a chart draws, each once, in their order. */
function barsOf(spec) {
  const values = (spec.data ?? spec.layer?.[0]?.data)?.values ?? [];
  const ends = new Map(values.filter(({ from }) => Number.isFinite(from)).map(({ from, to }) => [from, to ?? from + 1]));
  return [...ends].map(([from, to]) => ({ from, to })).sort((a, b) => a.from - b.from);
}

/** A stretch widened to the whole bars at its ends. */
function snapped(bars, [start, end]) {
  const first = bars.find(({ from, to }) => from <= start && start < to);
  const last = bars.find(({ from, to }) => from < end && end <= to);
  return [first ? first.from : start, last ? last.to : end];
}

function instant({ shifts }, place) {
  const known = shifts.filter(([from]) => from <= place);
  return Math.round(place - (known.length ? known.at(-1) : shifts[0])[1]);
}

function momentWords(place) {
  const text = new Date(place).toISOString().replace("T", " ");
  return text.endsWith(":00.000Z") ? text.slice(0, 16) : text.slice(0, 19);
}
