// The page: what the files before this one make of it, and the choice of light or dark.

const root = document.documentElement;

function addThemeButton() {
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = make("button", { type: "button", className: "theme" });
  const name = () => (button.textContent = dark() ? "Light" : "Dark");
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  name();
  document.querySelector(".eyebrow").append(button);
}

/** What is selected in each chart, together: the tables show what all of it leaves, a chart's own data what its own does. */
function selecting(tables, charts, events) {
  const selections = new Map();
  const words = make("span");
  const clear = make("button", { type: "button", textContent: "Clear" });
  const bar = make("div", { className: "selected", hidden: true }, words, clear);
  bar.setAttribute("role", "status");
  document.body.append(bar);
  clear.addEventListener("click", () => charts.forEach((chart) => chart.clear()));

  function changed(chart, selection) {
    if (selection) selections.set(chart, selection);
    else if (!selections.delete(chart)) return;
    const all = [...selections.values()];
    const chosen = events && all.length ? chosenEvents(events, all) : null;
    const said = all.map((one) => one.words).join("; ");
    const picked = chart.figure.querySelector(".picked");
    picked.hidden = !selection;
    picked.firstChild.textContent = selection ? `Selected: ${selection.words}. ` : "";
    bar.hidden = !all.length;
    const count = chosen && `${grouped.format(chosen.count)} of ${grouped.format(events.count)} events`;
    words.textContent = all.length ? `Selected: ${said}${count ? `: ${count}. The tables show only these.` : "."}` : "";
    for (const table of tables) {
      const drawing = table.figure.closest("figure.chart");
      if (drawing === null) narrow(table, all, chosen, said && `, ${said}`);
      else if (drawing === chart.figure) narrow(table, selection ? [selection] : [], null, selection ? `, ${selection.words}` : "");
    }
  }

  for (const chart of charts) {
    chart.changed = (selection) => changed(chart, selection);
    chart.figure.querySelector(".picked button").addEventListener("click", chart.clear);
  }
}

async function start() {
  addThemeButton();
  const events = await unpackEvents();
  const tables = [...document.querySelectorAll("figure.data[data-extent]")].map((figure) => takeUp(figure, events));
  const charts = [];
  for (const figure of document.querySelectorAll("figure.chart:has(> script)")) charts.push(await drawChart(figure));
  selecting(tables, charts.filter(Boolean), events);
  root.classList.add("ready");
}

start();
