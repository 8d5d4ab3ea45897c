// The explorer's view: a timeline, facets, events and the code of what is selected, drawn from what Python answers.
//
// Text from events is hostile: it becomes text nodes and attributes that only name things, never markup, styles or addresses.
// One question is in flight; of those that are asked meanwhile the last one waits.

const SVG = "http://www.w3.org/2000/svg";
const COLUMNS = ["ts", "actor", "action", "resource", "outcome", "value", "source", "origin"];
const HEIGHT = 150, TOP = 14, BASE = 118, STRIP = 5; // of the timeline, in pixels; failures have a strip below the bars
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff]|[\u{e0000}-\u{e0fff}]|[\u{1d173}-\u{1d17a}]|[\u{1bca0}-\u{1bca3}]/gu;
const MOST_MEMBERS = 200, MOST_TEXT = 4000; // of an event's attrs, shown at once
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

// Words

const named = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const visible = (text) => String(text).replace(UNSEEN, (sign) => named[sign] ?? `<U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`);
const label = (value) => (value === null || value === undefined ? "(none)" : value === "" ? '""' : visible(value));
const number = (count) => count.toLocaleString("en-US");
const percent = (part, whole) => { const share = (100 * part) / whole; return `${share >= 10 || share === 0 ? Math.round(share) : share.toPrecision(2)} %`; };
const events = (count) => `${number(count)} event${count === 1 ? "" : "s"}`;

// Nodes

function node(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  // JupyterLab's command mode takes keys from what has the focus; only the focused element itself can refuse that.
  if (["button", "input", "select", "summary"].includes(tag) || "tabindex" in properties) made.setAttribute("data-lm-suppress-shortcuts", "true");
  made.append(...children);
  return made;
}
function drawn(tag, properties) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  return made;
}
const button = (words, onclick, more = {}, ...children) => node("button", { type: "button", onclick, ...more }, words, ...children);

// Times: what a wall clock in the zone shows, as milliseconds that `Date` reads as if they were UTC

function clockOf(zone) {
  const parts = new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", era: "short", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" });
  return (us) => {
    const got = Object.fromEntries(parts.formatToParts(us / 1000).map((part) => [part.type, part.value]));
    return Date.UTC(+got.year, got.month - 1, +got.day, +got.hour, +got.minute, +got.second) + (((us / 1000) % SECOND) + SECOND) % SECOND;
  };
}
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const STEPS = [1, 5, 10, 50, 100, 500, SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY];
const UNITS = [
  // Weeks begin on Mondays: 1970-01-01 was a Thursday.
  ...STEPS.map((step) => ({ of: (wall) => Math.floor((wall + (step === 7 * DAY ? 3 * DAY : 0)) / step), step })),
  ...[1, 3, 6, 12, 24, 60, 120].map((months) => ({ of: (wall) => { const at = new Date(wall); return Math.floor((at.getUTCFullYear() * 12 + at.getUTCMonth()) / months); }, step: months * 30 * DAY, months })),
];

function render({ model, el: host }) {
  const meta = model.get("meta");
  const wall = clockOf(meta.tz);
  let shown = model.get("shown"); // the last answer
  let selection = structuredClone(shown.selection), zoom = shown.zoom;
  let rows = shown.rows, offset = 0;
  let asked = 0, flying = 0, again = false, waiting = null, resting = null, width = 0;
  const past = [], found = {}, open = new Set(); // selections before this one; searched facets; events that are unfolded

  // Times in words

  const iso = (us) => new Date(wall(us)).toISOString();
  const shift = (us) => Math.round(wall(us) - us / 1000); // how far the zone's clock is from UTC
  function offset_of(us, brief = false) {
    const minutes = Math.round(shift(us) / MINUTE), off = Math.abs(minutes), hours = Math.floor(off / 60), left = String(off % 60).padStart(2, "0");
    return `${minutes < 0 ? "−" : "+"}${brief ? `${hours}${off % 60 ? `:${left}` : ""}` : `${String(hours).padStart(2, "0")}:${left}`}`;
  }
  // A clock that is put back shows an hour twice; a time of these alone needs its offset to be told from the other.
  const isTwice = (us) => [-3, 3].some((hours) => {
    const here = shift(us), there = shift(us + hours * HOUR * 1000);
    return here !== there && shift(us + (here - there) * 1000) === there;
  });
  const apart = (us, brief) => (isTwice(us) ? offset_of(us, brief) : "");
  const second = (us) => iso(us).slice(0, 19).replace("T", " ");
  const micros = (us) => String(((us % 1e6) + 1e6) % 1e6).padStart(6, "0");
  const zoned = (us) => `${second(us)}.${micros(us)}${offset_of(us)}`;
  const plainly = (us) => { const text = iso(us); return text.slice(0, text.slice(17, 23) !== "00.000" ? (text.slice(20, 23) === "000" ? 19 : 23) : 16).replace("T", " ") + apart(us); };
  const stretch = (from, to) => { const one = plainly(from), other = plainly(to); return `${one} – ${one.slice(0, 10) === other.slice(0, 10) ? other.slice(11) : other}`; };

  // Asking

  function ask() {
    if (flying) { again = true; return; }
    flying = ++asked + Date.now();
    again = false;
    root.setAttribute("aria-busy", "true");
    trouble.hidden = true;
    clearTimeout(waiting);
    waiting = setTimeout(() => say("The kernel has not answered yet. It may be busy; if it has ended, run the cell again.", () => { settled(); ask(); }), 5000);
    model.send({ op: "ask", n: flying, selection, zoom });
  }
  function settled() {
    flying = 0;
    clearTimeout(waiting);
    root.setAttribute("aria-busy", "false");
  }
  function say(words, retry) {
    trouble.replaceChildren(visible(words), " ", button("Try again", retry));
    trouble.hidden = false;
  }
  // What could not be answered is not selected: the next cell has what is shown.
  function failed(words) {
    const wanted = { selection, zoom };
    settled();
    again = false;
    ({ selection, zoom } = structuredClone({ selection: shown.selection, zoom: shown.zoom }));
    drawBrush();
    drawChips();
    say(words, () => restore(wanted));
  }
  function change(edit, { remember = true } = {}) {
    if (remember) past.push(structuredClone({ selection, zoom }));
    edit();
    for (const side of [selection.keep, selection.leave_out]) for (const facet of Object.keys(side)) if (!side[facet].length) delete side[facet];
    drawBrush();
    drawChips();
    ask();
  }
  const restore = (state) => change(() => { ({ selection, zoom } = state); words.value = selection.text; }, { remember: false });
  const nothing = () => ({ brush: null, keep: {}, leave_out: {}, text: "" });
  const empty = () => (meta.span ? "No event matches what the explorer was opened with" : "There are no events in this window");
  const why = () => visible(shown.hint ? shown.hint[0].toUpperCase() + shown.hint.slice(1) : empty());
  const chosen = () => selection.brush !== null || selection.text !== "" || Object.keys(selection.keep).length + Object.keys(selection.leave_out).length > 0;

  function toggle(facet, value, side) {
    change(() => {
      const other = side === "keep" ? "leave_out" : "keep", had = (selection[side][facet] ?? []).includes(value);
      selection[other][facet] = (selection[other][facet] ?? []).filter((one) => one !== value);
      selection[side][facet] = had ? selection[side][facet].filter((one) => one !== value) : [...(selection[side][facet] ?? []), value];
    });
  }

  // Head: how many, the search, and what is chosen

  const total = node("span", { class: "total", role: "status" });
  const words = node("input", { type: "search", placeholder: "Words in resource and attrs", "aria-label": "Words in resource and attrs; Enter searches", maxlength: 1000, enterkeyhint: "search" });
  const search = node("div", { class: "search", role: "search" }, words, node("span", { class: "note", "aria-hidden": "true" }, "in resource and attrs"), button("Search", searched));
  words.addEventListener("keydown", (event) => { if (event.key === "Enter") searched(); });
  words.addEventListener("search", () => { if (words.value === "" && selection.text !== "") searched(); }); // the cross inside it
  words.value = selection.text;
  function searched() {
    if (words.value.trim() !== selection.text) change(() => { selection.text = words.value.trim(); });
  }
  const back = button("Back", () => restore(past.pop()), { title: "Back to the selection before" });
  const reset = button("Reset", () => {
    for (const facet of meta.facets) {
      clearTimeout(facets[facet].find.timer);
      facets[facet].find.value = "";
      delete found[facet];
      drawFacet(facet);
    }
    if (chosen() || zoom !== null) change(() => { selection = nothing(); zoom = null; words.value = ""; });
    else drawChips();
  }, { title: "Select everything again" });
  const chips = node("ul", { class: "chips", "aria-label": "What is selected" });
  const alike = node("p", { class: "alike", hidden: true });
  const trouble = node("p", { class: "trouble", role: "alert", hidden: true });

  function drawChips() {
    const chip = (name, verb, value, undo, after = "") => {
      const text = `${name} ${verb} ${value}${after}`;
      return node("li", { class: verb.includes("not") ? "chip without" : "chip" }, node("span", { class: "of" }, name), ` ${verb} `, node("bdi", { title: value }, value), ...(after ? [node("span", { class: "of" }, after)] : []), button("×", undo, { "aria-label": `Remove: ${text}`, title: "Remove" }));
    };
    const made = [];
    if (selection.brush) made.push(chip("time", "is", stretch(...selection.brush), () => change(() => { selection.brush = null; })));
    if (selection.text) made.push(chip("text", "has", visible(selection.text), () => change(() => { selection.text = words.value = ""; }), " in resource or attrs"));
    for (const [side, verb] of [["keep", "is"], ["leave_out", "is not"]])
      for (const facet of meta.facets) for (const value of selection[side][facet] ?? []) made.push(chip(facet, verb, label(value), () => toggle(facet, value, side)));
    if (meta.base) made.unshift(node("li", { class: "chip given", title: "What the explorer was opened with" }, visible(meta.base)));
    if (!shown.all) made.push(node("li", { class: "hint" }, why()));
    else if (!made.length) made.push(node("li", { class: "hint" }, "Drag over the timeline, or choose values below; everything is selected now."));
    chips.replaceChildren(...made);
    const values = selection.text && selection.text === shown.selection.text ? shown.alike ?? [] : [];
    alike.hidden = !values.length;
    alike.replaceChildren("As a value:", ...values.map(([facet, value, count]) => button("", () => change(() => {
      selection.text = words.value = "";
      selection.leave_out[facet] = (selection.leave_out[facet] ?? []).filter((one) => one !== value);
      selection.keep[facet] = [...new Set([...(selection.keep[facet] ?? []), value])];
    }), { class: "small", title: `Keep this value instead of the text` }, node("span", { class: "of" }, facet), " ", node("bdi", {}, label(value)), " ", node("b", {}, number(count)))));
    back.disabled = !past.length;
    reset.disabled = !chosen() && zoom === null && meta.facets.every((facet) => facets[facet].find.value === "");
  }

  // Timeline

  const svg = drawn("svg", { class: "time", role: "group", "aria-label": "Events over time" });
  const tip = node("div", { class: "tip", "aria-hidden": "true", hidden: true });
  const legend = node("div", { class: "legend" });
  const into = button("Zoom in", () => change(() => { zoom = selection.brush; }), { title: "Show the selected time alone (Enter)" });
  const out = button("Zoom out", () => change(() => { zoom = null; }), { title: "Show all of the time" });
  const brush = drawn("rect", { class: "brush", y: TOP, height: BASE + STRIP - TOP });
  const grips = [0, 1].map((side) => {
    const grip = drawn("rect", { class: "grip", width: 6, y: TOP + 30, height: 44, rx: 3, tabindex: 0, "data-lm-suppress-shortcuts": "true", role: "slider", "aria-orientation": "horizontal", "aria-label": side ? "End of the selected time" : "Start of the selected time" });
    grip.addEventListener("keydown", (event) => nudge(event, side));
    return grip;
  });
  const plot = drawn("g", {}); // drawn anew with each answer; the brush and its edges stay, and with them the focus
  svg.append(plot, brush, ...grips);
  const look = new Map(meta.outcomes.map(([value, light, dark, failed]) => [value, { light, dark, failed }]));
  const rest = { light: meta.rest[0], dark: meta.rest[1], failed: false };
  const lookOf = (at) => (at === shown.outcomes.length ? rest : look.get(shown.outcomes[at]) ?? rest);
  const outcomeOf = (at) => (at === shown.outcomes.length ? "other outcomes" : label(shown.outcomes[at]));
  const x = (us) => { const [first, last] = [shown.edges[0], shown.edges.at(-1)]; return ((us - first) / (last - first)) * width; };
  const edgeAt = (us) => { let best = 0; shown.edges.forEach((edge, at) => { if (Math.abs(edge - us) < Math.abs(shown.edges[best] - us)) best = at; }); return best; };

  function drawBars() {
    plot.replaceChildren();
    legend.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const { edges, bars } = shown, heights = bars.map((bar) => bar.reduce((sum, count) => sum + count, 0)), most = Math.max(0, ...heights);
    if (!most) {
      const text = drawn("text", { x: width / 2, y: 64, "text-anchor": "middle", class: "none" });
      text.textContent = shown.all ? "No events match" : empty();
      plot.append(text);
    }
    for (const one of [brush, ...grips]) one.style.display = edges.length ? "" : "none";
    drawBrush();
    if (!edges.length) return;
    // Failures lie at the bottom, where few can be told from none, and have a strip of their own.
    const order = [...shown.outcomes.keys(), shown.outcomes.length].map((at) => ({ at, sum: bars.reduce((sum, bar) => sum + bar[at], 0) })).filter((one) => one.sum);
    order.sort((a, b) => lookOf(b.at).failed - lookOf(a.at).failed || b.sum - a.sum);
    const scale = (BASE - TOP) / Math.max(1, most), lines = drawn("path", { class: "grid", d: `M0 ${TOP + 0.5}H${width}M0 ${(TOP + BASE) / 2 + 0.5}H${width}M0 ${BASE + 0.5}H${width}` });
    plot.append(lines);
    const feet = bars.map(() => 0), strip = [];
    for (const { at } of order) {
      let path = "";
      bars.forEach((bar, place) => {
        if (!bar[at]) return;
        const left = x(edges[place]), right = Math.max(left + 0.8, x(edges[place + 1]) - 1), low = BASE - feet[place] * scale;
        feet[place] += bar[at];
        path += `M${left.toFixed(1)} ${low.toFixed(1)}V${(BASE - feet[place] * scale).toFixed(1)}H${right.toFixed(1)}V${low.toFixed(1)}Z`;
        if (lookOf(at).failed) strip.push(`M${left.toFixed(1)} ${BASE + 1}V${BASE + STRIP}H${right.toFixed(1)}V${BASE + 1}Z`);
      });
      plot.append(coloured(drawn("path", { d: path }), lookOf(at)));
    }
    if (strip.length) plot.append(drawn("path", { class: "failed", d: strip.join("") }));
    const peak = drawn("text", { x: 2, y: TOP - 3, class: "peak" });
    peak.textContent = most ? number(most) : "";
    plot.append(peak, ...ticks(edges));
    legend.append(...order.map(({ at, sum }) => {
      const key = node("span", { class: "swatch" });
      coloured(key, lookOf(at));
      return node("span", { class: lookOf(at).failed ? "key failing" : "key" }, key, outcomeOf(at), " ", node("b", {}, number(sum)));
    }), node("span", { class: "note" }, `one bar is ${shown.every} in ${meta.tz}${zoomed(order.reduce((sum, one) => sum + one.sum, 0))}`));
  }
  const zoomed = (sum) => (shown.zoom === null ? "" : `; zoomed: ${number(sum)}${shown.selection.brush ? "" : ` of ${number(shown.total)}`} shown`);
  function coloured(made, { light, dark }) {
    made.style.setProperty("--light", light);
    made.style.setProperty("--dark", dark);
    made.classList.add("coloured");
    return made;
  }
  function ticks(edges) {
    const walls = edges.map(wall), begins = (unit, at) => (at ? unit.of(walls[at]) !== unit.of(walls[at - 1]) : walls[0] % unit.step === 0 && !unit.months);
    const room = Math.max(2, Math.floor(width / 84)), at = (unit) => edges.slice(0, -1).map((_, place) => place).filter((place) => begins(unit, place));
    const unit = UNITS.find((one) => one.step >= (walls.at(-1) - walls[0]) / room && at(one).length <= room) ?? UNITS.at(-1);
    let day = null, taken = -10;
    return (at(unit).length ? at(unit) : [0]).flatMap((place) => {
      const moment = new Date(walls[place]), text = moment.toISOString(), date = `${moment.getUTCDate()} ${MONTHS[moment.getUTCMonth()]}`;
      const fine = text.slice(11, unit.step < SECOND ? 23 : unit.step < MINUTE ? 19 : 16) + (unit.step < DAY ? apart(edges[place], true) : ""), isNew = day !== text.slice(0, 10);
      day = text.slice(0, 10);
      const words = unit.step >= 360 * DAY ? text.slice(0, 4) : unit.months ? (moment.getUTCMonth() && place !== at(unit)[0] ? MONTHS[moment.getUTCMonth()] : `${MONTHS[moment.getUTCMonth()]} ${text.slice(0, 4)}`) : unit.step >= DAY ? date : isNew ? (fine.startsWith("00:00") && /^[0:.]*$/.test(fine) ? date : `${date} ${fine}`) : fine;
      // A label begins where the one before has ended, or is left out; a letter is about 6.4 pixels wide.
      const long = 6.4 * words.length, left = Math.min(Math.max(x(edges[place]) - long / 2, 0), width - long);
      if (left < taken + 8) return [];
      taken = left + long;
      const made = drawn("text", { x: left + long / 2, y: HEIGHT - 8, "text-anchor": "middle", class: isNew ? "tick day" : "tick" });
      made.textContent = words;
      return [made];
    });
  }
  function drawBrush() {
    into.disabled = !shown.edges.length || !selection.brush || (zoom && selection.brush[0] === zoom[0] && selection.brush[1] === zoom[1]);
    out.disabled = !shown.edges.length || zoom === null;
    if (!shown.edges.length) return;
    const ends = [shown.edges[0], shown.edges.at(-1)], inside = (us) => Math.min(ends[1], Math.max(ends[0], us)), at = (selection.brush ?? ends).map(inside);
    brush.style.display = selection.brush ? "" : "none";
    brush.setAttribute("x", x(at[0]));
    brush.setAttribute("width", Math.max(1, x(at[1]) - x(at[0])));
    grips.forEach((grip, side) => {
      grip.classList.toggle("idle", !selection.brush);
      grip.setAttribute("x", Math.min(width - 6, Math.max(0, x(at[side]) - 3)));
      for (const [name, value] of [["valuemin", ends[0]], ["valuemax", ends[1]], ["valuenow", at[side]], ["valuetext", plainly(at[side])]]) grip.setAttribute(`aria-${name}`, value);
    });
  }
  function nudge(event, side) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -1e6, End: 1e6 }[event.key];
    if (event.key === "Escape" && selection.brush) change(() => { selection.brush = null; });
    else if (event.key === "Enter" && !into.disabled) into.click();
    else if (!step || !shown.edges.length) return;
    else {
      const between = selection.brush ?? [shown.edges[0], shown.edges.at(-1)], moved = [...between], last = shown.edges.length - 1;
      moved[side] = shown.edges[Math.min(last, Math.max(0, edgeAt(between[side]) + step))];
      if (moved[0] < moved[1]) change(() => { selection.brush = moved; }, { remember: !selection.brush });
    }
    event.preventDefault();
    event.stopPropagation();
  }
  // A drag selects whole bars, from where it begins to where it is; a click one bar; a click on what is selected alone, everything.
  let drag = null;
  const placeOf = (event) => { const box = svg.getBoundingClientRect(), us = shown.edges[0] + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (shown.edges.at(-1) - shown.edges[0]); return Math.max(0, Math.min(shown.edges.length - 2, shown.edges.findLastIndex((edge) => edge <= us))); };
  svg.addEventListener("pointerdown", (event) => {
    if (!shown.edges.length || event.button !== 0) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    const grip = grips.indexOf(event.target), between = (selection.brush ?? [shown.edges[0], shown.edges.at(-1)]).map(edgeAt);
    drag = { before: structuredClone({ selection, zoom }), from: grip === 0 ? between[1] - 1 : grip === 1 ? between[0] : placeOf(event), moved: grip >= 0, edges: shown.edges };
    if (grip >= 0) event.target.focus();
  });
  svg.addEventListener("pointermove", (event) => {
    if (!shown.edges.length) return;
    const place = placeOf(event);
    if (drag === null) { hover(event, place); return; }
    tip.hidden = true;
    drag.moved ||= place !== drag.from;
    if (!drag.moved) return;
    selection.brush = [shown.edges[Math.min(place, drag.from)], shown.edges[Math.max(place, drag.from) + 1]];
    drawBrush();
    ask();
  });
  svg.addEventListener("pointerup", (event) => {
    if (drag === null) return;
    const { before, from, moved } = drag, bar = [shown.edges[from], shown.edges[from + 1]];
    drag = null;
    past.push(before);
    change(() => {
      if (!moved) selection.brush = before.selection.brush?.[0] === bar[0] && before.selection.brush[1] === bar[1] ? null : bar;
    }, { remember: false });
  });
  svg.addEventListener("pointercancel", () => { if (drag !== null) { ({ selection, zoom } = drag.before); drag = null; drawBrush(); ask(); } });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  function hover(event, place) {
    const bar = shown.bars[place], sum = bar.reduce((all, count) => all + count, 0), box = svg.getBoundingClientRect();
    tip.replaceChildren(node("b", {}, stretch(shown.edges[place], shown.edges[place + 1])), node("div", {}, events(sum)), ...bar.flatMap((count, at) => (count ? [node("div", {}, coloured(node("span", { class: "swatch" }), lookOf(at)), `${outcomeOf(at)} ${number(count)}`)] : [])));
    tip.hidden = false;
    const at = event.clientX - box.left;
    tip.style.left = `${Math.max(0, Math.min(at + 14, box.width - tip.offsetWidth - 2))}px`;
    if (at + 14 > box.width - tip.offsetWidth) tip.style.left = `${Math.max(0, at - tip.offsetWidth - 14)}px`;
  }

  // Facets: one tab stop each; arrows go through its values

  const facets = Object.fromEntries(meta.facets.map((facet) => {
    const list = node("ul", { "aria-label": `Values of ${facet}`, onkeydown: (event) => walk(event, facet, list) }), extent = node("span", { class: "extent" });
    const find = node("input", { type: "search", placeholder: "Find", "aria-label": `Find values of ${facet}`, maxlength: 1000, oninput: () => { clearTimeout(find.timer); find.timer = setTimeout(() => look_for(facet), 250); } });
    return [facet, { list, extent, find, box: node("section", { class: "facet", "aria-label": facet }, node("div", { class: "head" }, node("b", {}, facet), extent), find, list) }];
  }));
  function look_for(facet) {
    const text = facets[facet].find.value;
    drawChips(); // and whether there is something to reset
    if (text === "") { delete found[facet]; drawFacet(facet); } else model.send({ op: "find", n: 0, facet, text });
  }
  function drawFacet(facet) {
    const { list, extent, find } = facets[facet], { rows: values, distinct } = found[facet] ?? shown.facets[facet];
    const kept = selection.keep[facet] ?? [], left = selection.leave_out[facet] ?? [];
    const most = Math.max(1, ...values.map((row) => row[1])), focus = list.contains(document.activeElement) ? document.activeElement.dataset.key : null, scroll = list.scrollTop;
    extent.textContent = values.length < distinct ? `${values.length} of ${number(distinct)}` : number(distinct);
    find.hidden = !found[facet] && shown.facets[facet].distinct <= 8 && find.value === "";
    const place = ([value]) => (kept.includes(value) ? 0 : left.includes(value) ? 1 : 2); // what is chosen stays in sight
    list.replaceChildren(...values.toSorted((a, b) => place(a) - place(b)).map(([value, count, before], at) => {
      const isKept = kept.includes(value), isLeft = left.includes(value), text = label(value), fill = node("span", { class: "fill" }), key = JSON.stringify(value);
      fill.style.width = `${(100 * count) / most}%`;
      const counts = node("span", { class: "counts" }, node("b", {}, number(count)));
      if (before !== count) counts.append(node("span", { class: "before" }, ` of ${number(before)}`));
      const failed = facet === "outcome" && look.get(value)?.failed;
      const keep = button("", () => toggle(facet, value, "keep"), { class: "value", "aria-pressed": String(isKept), tabindex: at ? -1 : 0, title: `${text}: ${events(count)}${before === count ? "" : `, ${percent(count, before)} of the ${number(before)} it has in all`}. Click: keep it (several: any of them)` });
      keep.append(fill, node("bdi", { class: failed ? "name failing" : "name" }, text), counts);
      const leave = button("−", () => toggle(facet, value, "leave_out"), { class: "leave", "aria-pressed": String(isLeft), tabindex: -1, "aria-label": `Leave out ${text}`, title: "Leave out" });
      keep.dataset.key = `+${key}`;
      leave.dataset.key = `-${key}`;
      return node("li", { class: isKept ? "kept" : isLeft ? "left" : "" }, keep, leave);
    }));
    if (!values.length) list.append(node("li", { class: "none" }, found[facet] ? "no value has this" : "no values"));
    list.scrollTop = scroll;
    if (focus) for (const one of list.querySelectorAll("button")) if (one.dataset.key === focus) hold(one, list);
  }
  function hold(one, list) {
    for (const other of list.querySelectorAll("button")) other.tabIndex = other === one ? 0 : -1;
    one.focus({ preventScroll: false });
  }
  function walk(event, facet, list) {
    const lines = [...list.querySelectorAll("li")], at = lines.findIndex((line) => line.contains(event.target)), side = event.target.classList.contains("leave") ? "leave" : "value";
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: lines.length - 1, PageDown: at + 8, PageUp: at - 8, ArrowRight: at, ArrowLeft: at }[event.key];
    if (event.key === "-" || event.key === "Delete") lines[at].querySelector(".leave").click();
    else if (to === undefined) return;
    else hold(lines[Math.max(0, Math.min(lines.length - 1, to))].querySelector(`.${event.key === "ArrowRight" ? "leave" : event.key === "ArrowLeft" ? "value" : side}`), list);
    event.preventDefault();
    event.stopPropagation();
  }

  // Events

  const head = node("tr"), body = node("tbody");
  const table = node("div", { class: "events", tabindex: 0, role: "region", "aria-label": "Selected events, newest first" }, node("table", {}, node("thead", {}, head), body));
  const newer = button("Newer", () => turn(offset - meta.page)), older = button("Older", () => turn(offset + meta.page)), where = node("span", { class: "note" });
  function turn(to) {
    root.setAttribute("aria-busy", "true");
    model.send({ op: "page", n: shown.n, offset: Math.max(0, to) });
  }
  function drawRows() {
    const columns = COLUMNS.filter((name) => name !== "value" || rows.some((row) => (row.value ?? null) !== null));
    head.replaceChildren(node("th", { scope: "col" }, node("span", { class: "aside" }, "Details")), ...columns.map((name) => node("th", { scope: "col", class: name }, name === "ts" ? `ts (${meta.tz})` : name)));
    body.replaceChildren(...rows.flatMap((row) => {
      const detail = node("tr", { class: "detail", hidden: true }, node("td", { colspan: columns.length + 1 }));
      const unfold = button("▸", () => flip(), { class: "unfold", "aria-expanded": "false", "aria-label": `Details of event ${number(Number(row.seq))}` });
      const flip = () => {
        detail.hidden = !detail.hidden;
        unfold.textContent = detail.hidden ? "▸" : "▾";
        unfold.setAttribute("aria-expanded", String(!detail.hidden));
        detail.hidden ? open.delete(row.seq) : open.add(row.seq);
        if (!detail.hidden && !detail.firstChild.hasChildNodes()) details(detail.firstChild, row);
      };
      const cell = (name) => {
        const value = row[name], text = name === "ts" ? second(value) + apart(value) : name === "value" && (value ?? null) === null ? "" : label(value), made = node("td", { class: `${name}${value === null ? " none" : ""}`, title: name === "ts" ? zoned(value) : text });
        if (name === "outcome" && look.has(value)) made.append(coloured(node("span", { class: "swatch" }), look.get(value)));
        made.append(node(name === "ts" ? "time" : "bdi", { class: name === "outcome" && look.get(value)?.failed ? "failing" : "" }, text));
        return made;
      };
      if (open.has(row.seq)) flip();
      // A click on the row does what its triangle does, unless it ends the marking of some text.
      const clicked = (event) => { if (!event.target.closest("button") && getSelection().isCollapsed) flip(); };
      return [node("tr", { "data-seq": String(row.seq), onclick: clicked }, node("td", {}, unfold), ...columns.map(cell)), detail];
    }));
    if (!rows.length) body.append(node("tr", {}, node("td", { class: "none", colspan: columns.length + 1 }, shown.all ? `No event matches. ${shown.hint ? visible(shown.hint) : "Take away a condition above."}` : why())));
    newer.disabled = offset === 0;
    older.disabled = offset + rows.length >= shown.total;
    where.textContent = rows.length ? `${number(offset + 1)}–${number(offset + rows.length)} of ${number(shown.total)}, newest first` : "";
  }
  const entire = {}; // what is asked for an event whose texts were cut
  function details(place, row) {
    const values = node("dl");
    for (const [name, value] of Object.entries(row)) {
      if (value === null || ["attrs", "cut"].includes(name)) continue;
      const text = node("dd", {}, node("bdi", {}, name === "ts" || name === "recorded" ? zoned(value) : label(value)));
      if (meta.facets.includes(name)) text.append(button("only", () => toggle(name, value, "keep"), { class: "small", "aria-label": `Only ${name} ${label(value)}` }), button("not", () => toggle(name, value, "leave_out"), { class: "small", "aria-label": `Leave out ${name} ${label(value)}` }));
      if (name === "resource") text.append(button("search", () => { words.value = value.split(/\s+/u).join(" ").slice(0, 1000); searched(); }, { class: "small", title: "Search for these words in resource and attrs" }));
      values.append(node("dt", {}, name), text);
    }
    place.replaceChildren(values);
    if (row.cut?.length) {
      place.append(node("p", { class: "note" }, `Only the beginning of ${row.cut.join(", ")} is shown. `, button("Show all", () => { entire[row.seq] = place; model.send({ op: "event", n: 0, seq: Number(row.seq) }); }, { class: "small" })));
    }
    if (row.attrs !== null && row.attrs !== undefined) place.append(node("div", { class: "attrs" }, node("span", { class: "of" }, "attrs"), tree(parsed(row.attrs))));
  }
  class Exact { constructor(text) { this.text = text; } } // a number that JavaScript would round
  function parsed(text) {
    try { return JSON.parse(text, (_, value, context) => (typeof value === "number" && context && String(value) !== context.source ? new Exact(context.source) : value)); } catch { return text; }
  }
  function tree(value) {
    if (value instanceof Exact) return node("span", { class: "number" }, value.text);
    if (typeof value === "string") return long(value);
    if (value === null || typeof value !== "object") return node("span", { class: value === null ? "none" : "number" }, String(value));
    const members = Object.entries(value), list = node("ul");
    const add = (from) => {
      for (const [name, inner] of members.slice(from, from + MOST_MEMBERS)) {
        const isTree = inner !== null && typeof inner === "object" && !(inner instanceof Exact) && Object.keys(inner).length > 0;
        list.append(node("li", {}, isTree ? node("details", { open: true }, node("summary", {}, node("bdi", { class: "of" }, label(name))), tree(inner)) : node("span", {}, node("bdi", { class: "of" }, label(name)), " ", inner !== null && typeof inner === "object" && !(inner instanceof Exact) ? (Array.isArray(inner) ? "[]" : "{}") : tree(inner))));
      }
      const left = members.length - from - MOST_MEMBERS;
      if (left > 0) list.append(node("li", {}, button(`${number(left)} more`, (event) => { event.target.closest("li").remove(); add(from + MOST_MEMBERS); }, { class: "small" })));
    };
    add(0);
    return list;
  }
  function long(text) {
    const made = node("bdi", { class: "text" }, text === "" ? '""' : visible(text.slice(0, MOST_TEXT)));
    if (text.length <= MOST_TEXT) return made;
    const whole = node("span", {}, made, button(`… ${number(text.length - MOST_TEXT)} more characters`, () => whole.replaceChildren(node("bdi", { class: "text" }, visible(text))), { class: "small" }));
    return whole;
  }

  // Code

  const kinds = node("select", { "aria-label": "What the code gives", onchange: () => drawCode() }), code = node("code"), block = node("pre", { tabindex: 0, "aria-label": "Code of the selection" }, code);
  const copy = button("Copy as code", async () => {
    let said = "Copied";
    try { await navigator.clipboard.writeText(code.textContent); } catch { getSelection().selectAllChildren(code); said = document.execCommand("copy") ? said : "Press Ctrl+C"; }
    copied.textContent = said;
    setTimeout(() => { copied.textContent = ""; }, 2000);
  }, { class: "main" });
  const copied = node("span", { class: "note", role: "status" });
  function drawCode() {
    const kind = kinds.value || "events";
    kinds.replaceChildren(...Object.keys(shown.codes).map((name) => node("option", { value: name, selected: name === kind }, name)));
    code.textContent = visible(shown.codes[kind] ?? shown.codes.events);
  }

  // All of it

  const keys = node("details", { class: "keys" }, node("summary", {}, "Keys"), node("dl", {}, ...[
    ["Timeline", "Tab to an edge of the selected time; ← moves it back by a bar and → forward, Page Down back by ten and Page Up forward, Enter zooms in, Escape takes the selection away"],
    ["Values", "↑ ↓ go through them, Space keeps it (several: any of them), − leaves it out"],
    ["Search", "Enter asks"],
  ].flatMap(([name, text]) => [node("dt", {}, name), node("dd", {}, text)])));
  const memory = node("span", { class: "note" }, `as of seq ${number(meta.end_seq)}`);
  const root = node("div", { class: "auditkit-explorer", role: "region", "aria-busy": "false", "aria-label": `Explorer of the trail ${meta.name}` },
    node("div", { class: "bar" }, total, search, back, reset), chips, alike, trouble,
    node("div", { class: "timeline" }, svg, tip),
    node("div", { class: "under" }, legend, node("span", { class: "tools" }, into, out)),
    node("div", { class: "facets" }, ...meta.facets.map((facet) => facets[facet].box)),
    table, node("div", { class: "bar pager" }, newer, older, where, node("span", { class: "gap" }), memory),
    node("div", { class: "bar code" }, copy, kinds, copied, node("span", { class: "gap" }), keys), block);
  host.append(root);

  function drawAll() {
    const share = shown.total === shown.all ? "" : ` (${percent(shown.total, shown.all)})`;
    total.replaceChildren(node("b", {}, number(shown.total)), shown.total === shown.all ? ` event${shown.all === 1 ? "" : "s"}` : ` of ${events(shown.all)}${share}`);
    drawChips();
    if (width) drawBars();
    else drawBrush();
    meta.facets.forEach((facet) => (facets[facet].find.value ? look_for(facet) : drawFacet(facet)));
    drawRows();
    drawCode();
    root.dataset.n = shown.n; // which answer is drawn, for tests
  }
  function answered() {
    const was = shown;
    shown = model.get("shown");
    if (was === shown) return;
    if (flying && shown.n === flying) { settled(); trouble.hidden = true; }
    if (!flying && !again && drag === null) { selection = structuredClone(shown.selection); zoom = shown.zoom; words.value = selection.text; }
    rows = shown.rows;
    offset = 0;
    if (drag !== null && drag.edges !== shown.edges && String(drag.edges) !== String(shown.edges)) drag = null;
    drawAll();
    table.scrollTop = 0;
    if (again) ask();
    clearTimeout(resting);
    resting = setTimeout(() => model.send({ op: "notice", what: "rested" }), 1000);
  }
  function heard(message) {
    if (message.op === "page" && message.n === shown.n) {
      ({ rows, offset } = message);
      root.setAttribute("aria-busy", "false");
      drawRows();
      table.scrollTop = 0;
      root.dataset.page = offset;
    } else if (message.op === "event" && message.event && entire[message.event.seq]) {
      details(entire[message.event.seq], message.event);
    } else if (message.op === "find" && facets[message.facet]?.find.value === message.text) {
      found[message.facet] = message;
      drawFacet(message.facet);
    } else if (message.op === "loaded") {
      memory.textContent = `as of seq ${number(meta.end_seq)}${message.note ? `; ${visible(message.note)}` : ""}`;
      root.dataset.loaded = "";
    } else if (message.op === "failed") {
      failed(message.text);
    }
  }
  model.on("change:shown", answered);
  model.on("msg:custom", heard);
  const sized = new ResizeObserver(() => {
    const now = Math.round(svg.getBoundingClientRect().width);
    if (now && now !== width) { width = now; drawBars(); }
  });
  sized.observe(svg);
  drawAll();
  model.send({ op: "notice", what: "drawn" });
  return () => {
    model.send({ op: "notice", what: "gone" });
    sized.disconnect();
    clearTimeout(waiting);
    clearTimeout(resting);
    model.off("change:shown", answered);
    model.off("msg:custom", heard);
  };
}

export default { render };
