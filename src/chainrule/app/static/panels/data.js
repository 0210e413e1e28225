/** Your data: a table, a model of one of its columns, and what the model is worth. */

import { clamp, color, element, lineChart, mix, number, surface } from "../charts.js";
import { DeadUnits, GRADIENTS_TITLE, gradientLines } from "../training_pictures.js";
import { StoredModel, firstLayer } from "../stored_model.js";

const STEPS = [
  ["Choose", "The column to predict. Kinds of the others are found out; correct them."],
  ["Train", "Two ensembles with nothing to tune, or one network, and the loss as it falls."],
  ["See", "What the model is worth, what it mistakes for what, and what it relies on."],
  ["Take", "The model as a file, as ONNX, as a NumPy program, or as the code that makes it."],
];

/** The kinds that an address gives some columns; nothing in it is to be trusted. */
function kindsOf(text, columns, known) {
  let given = {};
  try {
    given = JSON.parse(text ?? "{}") ?? {};
  } catch {
    // an address with a fault opens
  }
  return Object.fromEntries(columns.map(({ name }) => [name, given[name]]).filter(([, kind]) => known.includes(kind)));
}

export function mount(root, app) {
  return new OwnData(root, app).interface();
}

class OwnData {
  constructor(root, app) {
    this.app = app;
    this.table = null;
    this.kinds = {};
    this.result = null;
    this.stored = null; // a model file that the page was opened with
    this.curve = [];
    this.chosen = { model: "ensemble" };
    this.build(root);
    app.onTheme(() => this.redraw());
  }

  interface() {
    return {
      onMessage: (type, data) => this.onMessage(type, data),
      onOpen: (reply) => this.onOpen(reply),
      onShow: () => this.redraw(),
      getState: () => ({
        example: this.chosen.example ?? null,
        target: this.chosen.example ? this.target.value || null : null,
        kinds: this.chosen.example && Object.keys(this.kinds).length ? JSON.stringify(this.kinds) : null,
        model: this.model.value === "ensemble" ? null : this.model.value,
      }),
      setState: (state) => (this.chosen = { model: "ensemble", ...state }),
    };
  }

  build(root) {
    this.file = element("input", {
      type: "file", class: "sr", id: "own-file", accept: ".csv,.tsv,.txt,.gz,.parquet,.arrow,.feather,.jsonl,.ndjson",
      onchange: () => this.file.files[0] && this.send(this.file.files[0]),
    });
    this.drop = element(
      "div",
      { class: "card data-drop" },
      element("div", {},
        element("h2", { text: "A table of your own" }),
        element("p", { class: "muted", text: "Drop a CSV or Parquet file here. It stays on this machine." })),
      element("div", { class: "row" },
        this.file,
        element("label", { class: "button primary", for: "own-file", text: "Choose a file" }),
        (this.examples = element("span", { class: "row" })),
      ),
      (this.said = element("p", { class: "small muted", role: "status", text: "\u00a0" })),
    );
    for (const type of ["dragover", "dragenter"]) {
      root.addEventListener(type, (event) => {
        event.preventDefault();
        this.drop.classList.add("over");
      });
    }
    for (const type of ["dragleave", "drop"]) root.addEventListener(type, () => this.drop.classList.remove("over"));
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) this.send(event.dataTransfer.files[0]);
    });
    // What is to come, until there is a table.
    this.steps = element("ol", { class: "card data-steps" }, ...STEPS.map(([title, text]) =>
      element("li", {}, element("h3", { text: title }), element("p", { class: "muted small", text }))));
    this.target = element("select", { onchange: () => this.chooseTarget() });
    this.model = element("select", { onchange: () => this.app.changed() });
    this.train = element("button", { type: "button", class: "primary", text: "Train", onclick: () => this.start() });
    this.judge = element("button", { type: "button", hidden: true, onclick: () => this.judgeStored() });
    this.stop = element("button", { type: "button", text: "Stop", disabled: true, onclick: () => this.app.request("stop") });
    this.columns = element("table", { class: "data-columns" });
    this.choices = element(
      "section",
      { class: "card data-choices", hidden: true },
      (this.title = element("h2", { text: "Columns" })),
      element("div", { class: "row data-row" },
        element("label", { class: "field" }, "Predict", this.target),
        element("label", { class: "field" }, "Model", this.model),
        this.train, this.stop, this.judge),
      element("div", { class: "data-scroll", tabindex: 0, role: "region", "aria-label": "Columns" }, this.columns),
    );
    this.curveCanvas = element("canvas", { class: "curve", role: "img", "aria-label": "Loss by epoch" });
    this.progress = element("p", { class: "small muted", role: "status", text: "\u00a0" });
    this.gradientCanvas = element("canvas", { class: "curve", role: "img", "aria-label": GRADIENTS_TITLE });
    this.dead = new DeadUnits();
    this.health = element("div", { class: "data-health" },
      element("div", { class: "data-figure" }, element("h2", { text: GRADIENTS_TITLE }), this.gradientCanvas), this.dead.root);
    this.noHealth = element("p", { class: "small muted", text: "Gradients and dead units are shown where one network is trained: choose it under Model." });
    this.training = element("section", { class: "card data-training", hidden: true },
      element("h2", { text: "Training" }), this.progress, this.curveCanvas, this.health, this.noHealth);
    this.scores = element("dl", { class: "data-scores" });
    this.judged = element("p", { class: "small muted" });
    this.picture = element("canvas", { class: "data-picture", role: "img", "aria-label": "" });
    this.pictureTitle = element("h3", { class: "small muted" });
    this.importances = element("ol", { class: "data-importances" });
    this.weights = element("div", { class: "card data-weights" });
    this.code = element("pre", { class: "data-code", tabindex: 0, "aria-label": "The code that makes this model" });
    this.downloads = element("div", { class: "row" });
    this.results = element("section", { class: "data-results", hidden: true },
      element("div", { class: "card" }, element("h2", { text: "What it is worth" }), this.scores, this.judged, this.pictureTitle, this.picture),
      element("div", { class: "card" }, element("h2", { text: "What it relies on" }),
        element("p", { class: "small muted", text: "By how much predictions get worse when a column is shuffled." }), this.importances),
      this.weights,
      element("div", { class: "card data-take" }, element("h2", { text: "Take it with you" }), this.downloads,
        element("div", { class: "row spread" }, element("h3", { class: "small muted", text: "The code" }),
          element("button", { type: "button", class: "small-button", text: "Copy", onclick: () => this.copy() })),
        this.code),
    );
    this.layout = element("div", { class: "data-layout" }, this.drop, this.steps, this.choices, this.training, this.results);
    root.append(this.layout);
    this.curveSurface = surface(this.curveCanvas, (...given) => this.drawCurve(...given));
    this.gradientSurface = surface(this.gradientCanvas, (...given) => this.drawGradients(...given));
    this.pictureSurface = surface(this.picture, (...given) => this.drawPicture(...given));
  }

  redraw() {
    this.stored?.redraw();
    this.layer?.surface.redraw();
    this.curveSurface.redraw();
    this.gradientSurface.redraw();
    this.pictureSurface.redraw();
  }

  // --- the table -------------------------------------------------------------------------------

  onOpen(reply) {
    this.allKinds = reply.kinds;
    this.examples.replaceChildren(
      element("span", { class: "muted small", text: "or try" }),
      ...reply.examples.map((name) => element("button", { type: "button", text: name, onclick: () => this.example(name) })),
    );
    this.model.replaceChildren(...Object.entries(reply.models).map(([value, text]) => element("option", { value, text })));
    this.model.value = this.chosen.model in reply.models ? this.chosen.model : "ensemble";
    this.setTrains(false);
    if (reply.stored && !this.stored) {
      this.stored = new StoredModel(this.app, reply.stored);
      this.layout.prepend(this.stored.root);
      this.steps.hidden = true;
      this.judge.textContent = `Judge ${reply.stored.name}`;
      this.judge.hidden = false;
    }
    if (reply.table) this.take(reply.table, this.chosen.target);
    else if (this.chosen.example) this.example(this.chosen.example, this.chosen.target, this.chosen.kinds);
    else if (this.table) {
      this.table = null;
      this.choices.hidden = this.training.hidden = this.results.hidden = true;
      this.steps.hidden = false;
      this.said.textContent = "The connection was lost, and the table with it; choose the file again.";
    }
  }

  async send(file) {
    this.said.textContent = `Reading ${file.name} …`;
    try {
      const reply = await this.app.upload(file, (part) => (this.said.textContent = `Reading ${file.name}: ${Math.round(100 * part)} %`));
      this.app.say("");
      this.chosen.example = null;
      this.take(reply.table);
    } catch (error) {
      this.app.say(error.message);
      this.said.textContent = "\u00a0";
    }
    this.file.value = "";
  }

  async example(name, target, kinds) {
    try {
      const reply = await this.app.request("example", { name });
      this.chosen.example = name;
      this.take(reply.table, target, kinds);
    } catch {
      this.chosen.example = null;
    }
  }

  take(table, target, kinds) {
    this.table = table;
    this.kinds = kindsOf(kinds, table.columns, this.allKinds);
    this.said.textContent = `${table.name}: ${table.rows.toLocaleString("en")} rows, ${table.columns.length} columns`;
    this.target.replaceChildren(...table.columns.map(({ name }) => element("option", { value: name, text: name })));
    const wanted = target ?? this.stored?.told.target;
    this.target.value = table.columns.some(({ name }) => name === wanted) ? wanted : table.target;
    this.stored?.fill(table.columns, table.head[0]);
    this.choices.hidden = false;
    this.steps.hidden = true;
    this.training.hidden = this.results.hidden = true;
    this.fillColumns();
    this.app.changed();
  }

  fillColumns() {
    const { columns, head } = this.table;
    this.columns.replaceChildren(
      element("thead", {}, element("tr", {}, ...["Column", "Kind", "Values", "Missing", "First cells"].map((text) => element("th", { scope: "col", text })))),
      element("tbody", {}, ...columns.map((column, j) => {
        const isTarget = column.name === this.target.value;
        const known = this.allKinds.includes(column.kind) ? this.allKinds : [...this.allKinds, column.kind];
        const choice = element("select", {
          "aria-label": `Kind of ${column.name}`,
          onchange: () => {
            this.kinds[column.name] = choice.value;
            this.app.changed();
          },
        }, ...known.map((kind) => element("option", { value: kind, text: kind })));
        choice.value = this.kinds[column.name] ?? column.kind;
        return element("tr", { class: isTarget ? "target" : null },
          element("th", { scope: "row", text: column.name }),
          element("td", {}, isTarget ? element("span", { text: "predicted" }) : choice),
          element("td", { text: column.distinct.toLocaleString("en") }),
          element("td", { text: column.missing ? column.missing.toLocaleString("en") : "–" }),
          element("td", { class: "muted cells", text: head.map((row) => row[j]).join(", ") }));
      })),
    );
  }

  chooseTarget() {
    this.fillColumns();
    this.app.changed();
  }

  // --- training --------------------------------------------------------------------------------

  async start() {
    const own = Object.fromEntries(Object.entries(this.kinds).filter(([name, kind]) =>
      kind !== this.table.columns.find((column) => column.name === name).kind));
    this.curve = [];
    try {
      const reply = await this.app.request("train", { target: this.target.value, model: this.model.value, kinds: own });
      this.results.hidden = true;
      this.training.hidden = false;
      // The ensembles are many small networks, which these pictures would not show.
      this.noHealth.hidden = this.model.value === "network";
      this.health.hidden = !this.noHealth.hidden;
      this.showHealth({ epochs: [], gradients: [], dead: [], events: [], hidden: 0 });
      this.setTrains(true);
      const lacking = reply.missing ? `, ${reply.missing.toLocaleString("en")} without a value of ${this.target.value} left out` : "";
      this.progress.textContent = `${reply.rows.toLocaleString("en")} rows${lacking}; preparing …`;
      this.redraw();
    } catch {
      // said in the panel
    }
  }

  /** What the model that is open is worth on the table. */
  async judgeStored() {
    this.curve = [];
    try {
      await this.app.request("judge", { target: this.target.value });
      this.results.hidden = this.training.hidden = true;
      this.setTrains(true);
    } catch {
      // said in the panel
    }
  }

  setTrains(trains) {
    this.train.disabled = this.judge.disabled = trains;
    this.stop.disabled = !trains;
  }

  onMessage(type, data) {
    if (type === "progress") {
      this.curve = data.curve;
      this.progress.textContent = `Epoch ${data.epoch} of ${data.part}`;
      this.curveSurface.redraw();
      if (data.health) this.showHealth(data.health);
    } else if (type === "result") {
      this.setTrains(false);
      this.curve = data.curve;
      this.progress.textContent = `Done in ${number(data.seconds, 2)} s, on ${data.rows.toLocaleString("en")} rows`;
      this.show(data);
    } else if (type === "ended") {
      this.setTrains(false);
      this.progress.textContent = "\u00a0";
    }
  }

  showHealth(health) {
    this.gradients = health;
    this.dead.show({ ...health, rows: "rows that were looked at" });
    const now = health.gradients.map((values) => number(values.at(-1)));
    this.gradientCanvas.setAttribute("aria-label", now.length ? `Size of the gradient by layer: ${now.join(", ")}` : GRADIENTS_TITLE);
    this.gradientSurface.redraw();
  }

  show(result) {
    this.result = result;
    if (result.health) this.showHealth(result.health);
    this.results.hidden = false;
    this.scores.replaceChildren(...[result.score, result.error].flatMap(({ name, value, trivial }) => [
      element("dt", { text: name }),
      element("dd", {}, element("strong", { text: number(value) }), element("span", { class: "muted small", text: ` ${number(trivial)} without a model` })),
    ]));
    this.judged.textContent = `Measured on ${result.judged}.`;
    this.pictureTitle.textContent = result.confusion ? "Rows by what they are and what was said" : result.points ? "Said, over what is so" : "";
    this.picture.hidden = !(result.confusion || result.points);
    this.picture.setAttribute("aria-label", result.confusion
      ? result.confusion.classes.map((name, i) => `${name}: ${result.confusion.counts[i][i]} of ${result.confusion.counts[i].reduce((a, b) => a + b, 0)} right`).join("; ")
      : `${result.score.name} ${number(result.score.value)}`);
    const largest = Math.max(1e-12, ...result.importances.map(({ mean }) => mean));
    this.importances.replaceChildren(...result.importances.map(({ name, mean }) => {
      const bar = element("span", { class: "bar" });
      bar.style.width = `${100 * clamp(mean / largest)}%`;
      return element("li", {}, element("span", { class: "name", text: name }), element("span", { class: "track" }, bar), element("span", { class: "math", text: number(mean, 2) }));
    }));
    this.layer = result.weights && firstLayer(result.weights);
    this.weights.hidden = !this.layer;
    this.weights.replaceChildren(...(this.layer ? [this.layer.root] : []));
    this.code.textContent = result.code;
    this.downloads.replaceChildren(...[["model.chainrule", "Model file"], ["model.onnx", "ONNX"], ["model.py", "NumPy program"], ["train.py", "Code"]].map(([file, text]) =>
      element("a", { class: "button", href: this.app.download(file), download: "", text })));
    this.redraw();
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.result.code);
      this.app.tell("Code copied.");
    } catch {
      getSelection().selectAllChildren(this.code);
      this.app.tell("The code is selected.");
    }
  }

  // --- pictures --------------------------------------------------------------------------------

  drawCurve(context, width, height) {
    const styles = [{ color: "plus" }, { color: "minus-text", dash: [5, 3] }];
    const series = this.curve.map((each, k) => ({ ...each, ...styles[k % 2] }));
    const all = series.flatMap(({ points }) => points.map(([, y]) => y)).filter(Number.isFinite);
    lineChart(context, width, height, { series, xLabel: "epoch", yRange: all.length ? [Math.min(0, ...all), Math.max(...all)] : [0, 1] });
  }

  drawGradients(context, width, height) {
    const { epochs = [], gradients = [] } = this.gradients ?? {};
    const { series, yRange } = gradientLines(gradients);
    lineChart(context, width, height, {
      series: series.map(({ values, ...each }) => ({ ...each, points: epochs.map((at, k) => [at, values[k]]) })), xLabel: "epoch", yRange,
    });
  }

  drawPicture(context, width, height) {
    if (this.result?.confusion) this.drawConfusion(context, width, height);
    else if (this.result?.points) this.drawPoints(context, width, height);
  }

  drawConfusion(context, width, height) {
    const { classes, counts } = this.result.confusion;
    const [left, top] = [90, 24];
    const side = Math.min((width - left) / classes.length, (height - top) / classes.length);
    const font = getComputedStyle(document.body).fontFamily;
    const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
    context.textBaseline = "middle";
    counts.forEach((row, i) => {
      const total = Math.max(1, row.reduce((a, b) => a + b, 0));
      context.font = `12px ${font}`;
      context.fillStyle = color("muted");
      context.textAlign = "right";
      context.fillText(short(classes[i], 12), left - 8, top + (i + 0.5) * side);
      context.textAlign = "center";
      context.fillText(short(classes[i], Math.max(2, Math.floor(side / 7))), left + (i + 0.5) * side, top / 2);
      row.forEach((count, j) => {
        const share = count / total;
        context.fillStyle = mix("field", i === j ? "plus" : "minus", share);
        context.fillRect(left + j * side + 1, top + i * side + 1, side - 2, side - 2);
        if (!count) return;
        context.fillStyle = share > 0.5 ? color(i === j ? "on-accent" : "ink") : color("ink");
        context.font = `${side > 34 ? 14 : 11}px ${font}`;
        context.fillText(count.toLocaleString("en"), left + (j + 0.5) * side, top + (i + 0.5) * side);
      });
    });
  }

  drawPoints(context, width, height) {
    const { y, said } = this.result.points;
    const [low, high] = [Math.min(...y, ...said), Math.max(...y, ...said)];
    const span = high - low || 1;
    const size = Math.min(width, height) - 40;
    const px = (v) => 34 + ((v - low) / span) * size;
    const py = (v) => 10 + size - ((v - low) / span) * size;
    context.strokeStyle = color("strong-line");
    context.strokeRect(34, 10, size, size);
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(px(low), py(low));
    context.lineTo(px(high), py(high));
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = color("plus", 0.6);
    y.forEach((v, i) => {
      context.beginPath();
      context.arc(px(v), py(said[i]), 3, 0, 2 * Math.PI);
      context.fill();
    });
    context.fillStyle = color("muted");
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillText(number(low), 34, 14 + size);
    context.textAlign = "right";
    context.fillText(number(high), 34 + size, 14 + size);
  }
}
