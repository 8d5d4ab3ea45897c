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
function narrow(chart, others, tables, span, words) {
  if (span) others.filter((other) => other !== chart).forEach((other) => other.clear());
  for (const table of tables) {
    const own = table.figure.closest("figure.chart");
    if (table.timed && (own === null || own === chart.figure)) table.within(span, words);
  }
}

async function start() {
  addThemeButton();
  const tables = [...document.querySelectorAll("figure.data[data-extent]")].map(enhanceTable);
  const charts = [];
  for (const figure of document.querySelectorAll("figure.chart:has(> script)")) charts.push(await drawChart(figure));
  const timed = charts.filter(Boolean);
  for (const chart of timed) chart.picked = (span, words) => narrow(chart, timed, tables, span, words);
  root.classList.add("ready");
}

start();
