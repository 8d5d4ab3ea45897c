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

/** Narrow a chart's own data, and every table of the page that is not behind a chart, to the selected stretch. */
function narrow(chart, page, span, words) {
  const own = (table) => chart.figure.contains(table.figure);
  const common = (table) => table.figure.closest("figure.chart") === null;
  const leads = span !== null || page.leading === chart;
  if (span) {
    const before = page.leading;
    page.leading = chart;
    if (before && before !== chart) before.clear();
  } else if (leads) {
    page.leading = null;
  }
  for (const table of page.tables) if (own(table) || (leads && common(table))) table.within(span, words);
}

async function start() {
  addThemeButton();
  const all = [...document.querySelectorAll("figure.data[data-extent]")].map(enhanceTable);
  const page = { tables: all.filter((table) => table.timed), leading: null };
  const charts = [];
  for (const figure of document.querySelectorAll("figure.chart:has(> script)")) charts.push(await drawChart(figure));
  for (const chart of charts.filter(Boolean)) chart.picked = (span, words) => narrow(chart, page, span, words);
  root.classList.add("ready");
}

start();
