// Outputs of auditkit in JupyterLab: tables as in a report, and a report's summary with a link that opens it.  What they hold
// comes from events, perhaps by way of a stranger's notebook: it becomes text nodes, and nothing of it acts.

import { enhanceTable, extentWords, make, rowElement } from "./tables.js";

const TABLE = "application/vnd.auditkit.table+json";
const REPORT = "application/vnd.auditkit.report+json";
const VERSION = 1;
const KINDS = ["text", "number", "time"];
const MISSING = "(none)";

// As auditkit.text has them.
const UNSEEN =
  /[\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;
const RESERVED = /^(?:\(none\)|\(\p{Nd}+ others?\)|".*"|\s.*|.*\s|)$/u;
const NAMED = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** A text with every character that has no look of its own written out. */
export function visible(text) {
  const written = (sign) => NAMED[sign] ?? `<U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`;
  return String(text).replace(UNSEEN, written);
}

/** A value as one line of visible text; nothing that is stored looks like null. */
export function label(value) {
  if (value === null) return MISSING;
  const text = visible(value);
  return RESERVED.test(text) ? `"${text}"` : text;
}

const sheet = new CSSStyleSheet();
const styles = await Promise.all(["tables.css", "outputs.css"].map((name) => fetch(new URL(name, import.meta.url))));
sheet.replaceSync((await Promise.all(styles.map((one) => one.text()))).join(""));

/** What renders our outputs, as JupyterLab wants it. */
export function makeRenderers({ Widget }) {
  /** An output whose elements JupyterLab's own style sheets and keys leave alone. */
  class Output extends Widget {
    constructor(draw, options) {
      super();
      this.draw = draw;
      this.resolver = options.resolver;
      this.mime = options.mimeType;
      this.node.setAttribute("data-lm-suppress-shortcuts", "true");
      this.shadow = this.node.attachShadow({ mode: "open" });
      this.shadow.adoptedStyleSheets = [sheet];
    }
    async renderModel(model) {
      try {
        this.shadow.replaceChildren(await this.draw(model.data[this.mime], this.resolver));
      } catch {
        this.shadow.replaceChildren(make("p", { textContent: "This output is not of this version of auditkit." }));
      }
    }
  }
  const renderer = (mime, draw) => ({
    id: `auditkit:${mime}`,
    rank: 0,
    dataType: "json",
    rendererFactory: { safe: true, mimeTypes: [mime], defaultRank: 0, createRenderer: (options) => new Output(draw, options) },
  });
  return [renderer(TABLE, drawTable), renderer(REPORT, drawReport)];
}

function drawTable({ version, title, columns, rows, total, instants, empty }) {
  if (version !== VERSION || rows.some((row) => row.length !== columns.length)) throw new Error("no table of ours");
  const extent = total === null ? "" : rows.length || !empty ? extentWords(rows.length, total) : visible(empty);
  const name = visible(title);
  const caption = make("figcaption", {}, make("strong", { textContent: name }), make("span", { textContent: extent }));
  const figure = make("figure", { className: total === null ? "data fields" : "data" }, caption);
  if (!rows.length) return figure;
  const heads = columns.map((column) => make("th", { scope: "col", className: kindOf(column), textContent: visible(column.name) }));
  const body = make("tbody");
  const region = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: name });
  region.append(make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body));
  figure.append(region, make("p", { className: "printed" }));
  Object.assign(figure.dataset, { title: name, extent });
  const texts = (row, at) => ({
    at: instants[at] ?? null,
    cells: row.map(label),
    missing: row.map((cell) => cell === null),
    element: null,
  });
  if (extent) enhanceTable(figure, () => rows.map(texts));
  else body.append(...rows.map((row, at) => rowElement(texts(row, at), columns))); // fields of one value
  return figure;
}

function kindOf({ kind }) {
  return KINDS.includes(kind) ? kind : "text";
}

/** A report's summary; `href` is where the report lies, as seen from the notebook. */
async function drawReport({ version, title, answer, figures, href, path }, resolver) {
  if (version !== VERSION) throw new Error("no report of ours");
  const name = visible(title);
  const opened = await reached(href, resolver);
  const links = opened
    ? [
        make("a", { href: opened, target: "_blank", rel: "noopener", textContent: "Open the report" }),
        make("a", { href: opened, download: "", textContent: "Download" }),
      ]
    : [make("span", { className: "none", textContent: "Outside of the folder that JupyterLab serves, or no longer there" })];
  const card = make("section", { className: "report", ariaLabel: name });
  card.append(make("p", { className: "title" }, make("strong", { textContent: name })));
  if (answer) card.append(make("p", { className: "answer", textContent: visible(answer) }));
  const strip = figures.map((figure) =>
    make("div", {}, make("dt", { textContent: visible(figure.name) }), make("dd", { textContent: visible(figure.value) })),
  );
  if (strip.length) card.append(make("dl", {}, ...strip));
  card.append(make("p", { className: "place" }, ...links, make("code", { textContent: visible(path) })));
  return card;
}

/** The address of a file in a tab of its own, where its scripts run in a sandbox; null where the server has no such file. */
async function reached(href, resolver) {
  const address = await resolver.getDownloadUrl(await resolver.resolveUrl(href));
  if (new URL(address, location.href).origin !== location.origin) return null;
  return (await fetch(address, { method: "HEAD" })).ok ? address : null;
}

/** The entry of the menu that exports a notebook: JupyterLab makes its words of the exporter's name. */
export async function makeMenu(shared) {
  const [{ INotebookTracker }, { IMainMenu }] = await Promise.all([shared("@jupyterlab/notebook"), shared("@jupyterlab/mainmenu")]);
  return {
    id: "auditkit:menu",
    autoStart: true,
    requires: [INotebookTracker, IMainMenu],
    activate(app, tracker, { fileMenu }) {
      tracker.widgetAdded.connect(async () => {
        await app.serviceManager.nbconvert.getExportFormats(false);
        await new Promise((resolve) => setTimeout(resolve)); // those who waited for the same have made the entries by then
        const menu = fileMenu.items.find(({ submenu }) => submenu?.id === "jp-mainmenu-file-notebookexport")?.submenu;
        for (const { args } of menu?.items ?? []) if (args.format === "auditreport") args.label = "Audit report";
      });
    },
  };
}
