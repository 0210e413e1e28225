/** What "Your data" shows of a model file that the page was opened with. */

import { clamp, element, heatMap, number, surface } from "./charts.js";
import { showTip } from "./tip.js";

const WIDTH = 560; // pixels of a layer's weights, if a weight then has as many as these:
const CELL = [14, 26];

/** The weights of a first layer as {root, surface}: a row for each input, a column for each unit. */
export function firstLayer({ W, inputs, largest }) {
  const n = W[0].length;
  const canvas = element("canvas", {
    class: "stored-weights", role: "img",
    "aria-label": `Weights of ${inputs.length} inputs into ${n} units, the largest ±${number(largest)}`,
  });
  canvas.style.aspectRatio = `${n} / ${inputs.length}`;
  canvas.style.width = `${n * clamp(WIDTH / n, ...CELL)}px`;
  canvas.addEventListener("pointermove", (event) => {
    const i = Math.floor((event.offsetY / canvas.clientHeight) * inputs.length);
    const j = Math.floor((event.offsetX / canvas.clientWidth) * n);
    const w = W[i]?.[j];
    showTip(w === undefined ? "" : `W¹[${inputs[i]}, unit ${j}] = ${number(w)}`, canvas, event.offsetX, event.offsetY);
  });
  canvas.addEventListener("pointerleave", () => showTip("", canvas));
  const root = element(
    "div",
    { class: "stored-layer" },
    element("h3", { text: `Weights of the first layer · ±${number(largest, 2)}` }),
    element("p", { class: "small muted", text: "A row for each input, a column for each unit: blue adds, orange subtracts." }),
    element(
      "div",
      { class: "stored-map" },
      element("ol", { class: "small muted", "aria-hidden": "true" }, ...inputs.map((name) => element("li", { text: name, title: name }))),
      canvas,
    ),
  );
  const draw = (context, width, height) => heatMap(context, W.flat(), n, { width, height, range: largest, isSigned: true });
  return { root, surface: surface(canvas, draw) };
}

/** A card of a model: what it is and is worth, a row to type and what is said of it, its weights. */
export class StoredModel {
  constructor(app, told) {
    this.app = app;
    this.told = told;
    this.inputs = new Map();
    this.root = element(
      "section",
      { class: "card stored" },
      element("div", {}, element("h2", { text: told.name }), element("p", { class: "muted", text: this.about() })),
      element("div", { class: "stored-column" }, this.worth(), (this.layer = told.weights && firstLayer(told.weights))?.root),
      told.columns.length ? this.form() : null,
      told.unseen ? element("p", { class: "small muted", text: told.unseen }) : null,
    );
  }

  about() {
    const { what, target, data, rows } = this.told;
    const parts = [what];
    if (target) parts.push(`predicts ${target}`);
    if (rows) parts.push(`trained on ${rows.toLocaleString("en")} rows${data ? ` of ${data}` : ""}`);
    return parts.join(" · ");
  }

  /** The metrics of its file. */
  worth() {
    const { metrics, judged, judged_rows: rows } = this.told;
    if (!metrics.length) return null;
    const cell = (x) => element("td", { text: number(x) });
    const title = `What it was worth${judged ? `, ${judged}` : ""}${rows ? `, on ${rows.toLocaleString("en")} rows` : ""}`;
    return element(
      "div",
      { class: "stored-worth", tabindex: 0, role: "group", "aria-label": title },
      element(
        "table",
        {},
        element("caption", { text: title }),
        element("thead", {}, element("tr", {}, element("td"),
          ...["model", "from", "to", "best guess", "linear"].map((text) => element("th", { scope: "col", text })))),
        element("tbody", {}, ...metrics.map((one) => element("tr", {},
          element("th", { scope: "row", text: one.name }),
          element("td", {}, element("strong", { text: number(one.value) })),
          cell(one.low), cell(one.high), cell(one.trivial), cell(one.linear)))),
      ),
    );
  }

  // --- a row -----------------------------------------------------------------------------------

  form() {
    const fields = this.told.columns.map(({ name, kind }) => {
      const input = element("input", {
        type: "text", autocomplete: "off", spellcheck: "false", maxlength: 200,
        inputmode: kind === "numeric" ? "decimal" : null, placeholder: "missing",
      });
      this.inputs.set(name, input);
      return element("label", { class: "field" }, name, input);
    });
    this.answer = element("ol", { class: "data-importances stored-answer", role: "status" });
    this.notes = element("p", { class: "small muted" });
    const form = element(
      "form",
      { class: "stored-form" },
      element("h3", { text: "A row of your own" }),
      element("div", { class: "stored-fields" }, ...fields),
      element("div", { class: "row" }, element("button", { class: "primary", text: "Predict" })),
      this.answer,
      this.notes,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.predict();
    });
    return form;
  }

  /** Fill in a row of a table, so that there is something to change. */
  fill(columns, cells) {
    columns.forEach(({ name }, j) => {
      const input = this.inputs.get(name);
      if (input && !input.value) input.value = cells[j];
    });
  }

  async predict() {
    const row = Object.fromEntries([...this.inputs].map(([name, input]) => [name, input.value]));
    try {
      this.show(await this.app.request("predict", { row }));
    } catch {
      this.answer.replaceChildren();
    }
  }

  show({ classes, values, notes }) {
    const line = (name, value, share) => {
      const bar = element("span", { class: "bar" });
      bar.style.width = `${100 * clamp(share)}%`;
      return element("li", {}, element("span", { class: "name", text: name, title: name }),
        element("span", { class: "track" }, bar), element("span", { class: "math", text: value }));
    };
    const { target } = this.told;
    this.answer.replaceChildren(
      ...(classes
        ? classes.map(({ name, value }) => line(target ? `${target} ${name}` : name, `${(100 * value).toFixed(1)} %`, value))
        : values.map((value, k) => element("li", { class: "stored-value" },
            element("span", { text: values.length > 1 || !target ? `output ${k}` : target }),
            element("strong", { text: number(value, 5) })))),
    );
    this.notes.textContent = notes.join(" ");
  }

  redraw() {
    this.layer?.surface.redraw();
  }
}
