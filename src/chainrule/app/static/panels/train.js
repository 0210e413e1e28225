/** Train and watch: a run on the digits, its curves, its mistakes, its weights, and its code. */

import { element, lineChart, mix, number, rgb, surface } from "../charts.js";
import { DeadUnits, GRADIENTS_TITLE, WeightImages, gradientLines } from "../training_pictures.js";
import { showTip } from "../tip.js";

const DIGITS = [...Array(10).keys()];

export function mount(root, app) {
  return new Train(root, app).interface();
}

class Train {
  constructor(root, app) {
    this.app = app;
    this.changes = {};
    this.frame = null;
    this.plays = false;
    this.build(root);
    app.onTheme(() => this.redraw());
  }

  interface() {
    return {
      onMessage: (type, data) => {
        if (type === "frame") this.takeFrame(data);
        else if (type === "stopped") this.setPlays(false);
      },
      onOpen: (reply) => this.take(reply),
      onShow: () => {
        if (this.frame) this.takeFrame(this.frame);
        this.redraw();
      },
      getState: () => this.changes,
      setState: (state) => (this.changes = { ...state }),
    };
  }

  // --- what is on the page ---------------------------------------------------------------------

  build(root) {
    this.inputs = {};
    const field = (key, label, input) => {
      input.onchange = () => this.ask("set", { [key]: input.value });
      this.inputs[key] = input;
      return element("label", { class: "field" }, label, input);
    };
    const choice = (key, label) => field(key, label, element("select"));
    const typed = (key, label, inputmode = "decimal", title = null) =>
      field(key, label, element("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 40, inputmode, title }));
    const button = (text, onclick, more = {}) => element("button", { type: "button", text, onclick, ...more });

    this.play = button("Train", () => this.ask(this.plays ? "pause" : "play"), { class: "primary" });
    this.steps = [
      button("One epoch", () => this.ask("step", { of: "epoch" })),
      button("One batch", () => this.ask("step", { of: "batch" })),
    ];
    this.time = element("input", { type: "range", min: 0, max: 1, step: 1, value: 0, "aria-label": "Epoch that is shown" });
    this.time.oninput = () => this.lookAt(this.frame.kept[this.time.value] ?? null);
    this.best = button("Best epoch", () => this.lookAt(this.frame.best), { hidden: true });
    this.now = button("Now", () => this.lookAt(null));
    this.counts = element("p", { class: "train-counts", role: "status" });
    this.charts = {};
    const chart = (key, title, draw) => {
      const canvas = element("canvas", { class: "train-chart", role: "img", "aria-label": title });
      this.charts[key] = { canvas, ...surface(canvas, (...given) => this.frame && draw(...given)) };
      return element("div", { class: "train-figure" }, element("h2", { text: title }), canvas);
    };
    const weights = element("canvas", {
      class: "train-weights", tabindex: 0, role: "application",
      "aria-label": "Weights into the units of the first layer, an image each. Arrows move between units.",
    });
    this.weightsTitle = element("h2", { text: "Weights of the first layer" });
    this.dead = new DeadUnits();
    this.cells = DIGITS.map(() => DIGITS.map(() => element("td")));
    const table = element(
      "table",
      { class: "confusion" },
      element("caption", { class: "sr", text: "Test digits: a row is what a digit is, a column what it was taken for" }),
      element("thead", {}, element("tr", {}, element("td"), ...DIGITS.map((j) => element("th", { scope: "col", text: j })))),
      element("tbody", {}, ...DIGITS.map((i) => element("tr", {}, element("th", { scope: "row", text: i }), ...this.cells[i]))),
    );
    this.code = element("code");
    const copy = button("Copy", () => this.copy());
    root.append(
      element(
        "div",
        { class: "train-layout" },
        element(
          "section",
          { class: "card train-settings" },
          element("h2", { text: "Training" }),
          choice("recipe", "Recipe"),
          typed("hidden", "Units of the hidden layers", "text"),
          choice("activation", "Activation"),
          choice("output_activation", "Activation of the output"),
          choice("loss", "Cost"),
          choice("init", "Initialiser"),
          choice("optimizer", "Optimiser"),
          element(
            "div",
            { class: "train-pairs" },
            typed("learning_rate", "Learning rate"),
            typed("batch_size", "Batch size", "numeric"),
            typed("epochs", "Epochs", "numeric"),
            typed("seed", "Seed", "numeric"),
            typed("validation", "Held back", "numeric", "The last training rows are not trained on; the best epoch is the one with the least cost on them"),
            typed("clip", "Clip at", "text", "Inputs further from 0 count as this; none: as they are"),
            typed("l2", "L2 penalty", "decimal", "Adds l2/2 Σ W² to the cost of a batch, over its rows"),
            typed("l1", "L1 penalty", "decimal", "Adds l1 Σ |W| to the cost of a batch, over its rows"),
            typed("dropout", "Dropout", "decimal", "The probability with which a hidden unit is left out of a row's step"),
            choice("distortion", "Distort digits"),
          ),
        ),
        element(
          "section",
          { class: "card train-controls" },
          element("div", { class: "row" }, this.play, ...this.steps, button("Start again", () => this.ask("reset"))),
          element("div", { class: "row train-time" }, element("span", { class: "small muted", text: "Back in time", "aria-hidden": "true" }), this.time, this.best, this.now),
          this.counts,
        ),
        element(
          "section",
          { class: "card train-curves" },
          chart("loss", "Cost", (...given) => this.drawLoss(...given)),
          chart("right", "Right answers in %", (...given) => this.drawRight(...given)),
        ),
        element(
          "section",
          { class: "card train-confusion" },
          element("h2", { text: "What test digits are taken for" }),
          table,
        ),
        element("section", { class: "card train-images" }, this.weightsTitle, weights),
        element(
          "section",
          { class: "card train-health" },
          chart("gradient", GRADIENTS_TITLE, (...given) => this.drawGradients(...given)),
          this.dead.root,
        ),
        element(
          "section",
          { class: "card train-code" },
          element("div", { class: "row spread" }, element("h2", { text: "The code of this run" }), copy),
          element("pre", { tabindex: 0, role: "group", "aria-label": "Code" }, this.code),
        ),
      ),
    );
    this.images = new WeightImages(weights, {
      onPoint: (j, at) => showTip(j === null ? "" : this.wordsOf(j), weights, at?.x, at?.y),
    });
  }

  redraw() {
    this.images.surface.redraw();
    for (const each of Object.values(this.charts)) each.redraw();
    if (this.frame) this.showConfusion();
  }

  // --- the server ------------------------------------------------------------------------------

  ask(type, data) {
    return this.app.request(type, data).then((reply) => this.take(reply), () => this.showSettings());
  }

  take(reply) {
    if (reply.settings) {
      this.settings = reply.settings;
      this.changes = reply.changes;
      this.sizes = reply.sizes;
      this.most = reply.images;
      for (const [key, options] of Object.entries(reply.choices)) {
        if (this.inputs[key].options.length) continue;
        this.inputs[key].replaceChildren(
          ...options.map((value) => element("option", { value, text: value.replaceAll("_", " ") })),
        );
      }
      this.showSettings();
      this.app.changed();
    }
    if (reply.plays !== undefined) this.setPlays(reply.plays);
    if (reply.frame) this.takeFrame(reply.frame);
  }

  showSettings() {
    for (const [key, input] of Object.entries(this.inputs)) if (this.settings) input.value = this.settings[key];
  }

  setPlays(plays) {
    this.plays = plays;
    this.play.textContent = plays ? "Pause" : "Train";
    for (const each of this.steps) each.disabled = plays;
    this.counts.setAttribute("aria-live", plays ? "off" : "polite"); // not thirty times a second
  }

  /** Show an earlier epoch; null is the network as it is. One question at a time. */
  async lookAt(epoch) {
    this.wanted = { epoch };
    if (this.looks) return;
    this.looks = true;
    try {
      while (this.wanted) {
        const { epoch } = this.wanted;
        this.wanted = null;
        await (epoch === null || epoch >= this.frame.last ? this.ask("pause") : this.ask("look", { epoch }));
      }
    } finally {
      this.looks = false;
    }
  }

  takeFrame(frame) {
    this.frame = frame;
    if (this.play.offsetParent === null) return; // another part of the page is shown
    const { epoch, last, batch, batches } = frame;
    if (!this.looks || !this.wanted) {
      // The slider goes over the epochs that are kept, of which there may be fewer than have been.
      this.time.max = Math.max(1, frame.kept.length - 1);
      this.time.value = frame.kept.findLastIndex((one) => one <= epoch);
    }
    this.time.setAttribute("aria-valuetext", `epoch ${epoch} of ${last}`);
    this.time.disabled = last === 0;
    this.now.disabled = !frame.is_past;
    this.best.hidden = !Number(this.settings.validation);
    this.best.disabled = frame.best === null;
    this.best.textContent = frame.best === null ? "Best epoch" : `Best epoch: ${frame.best}`;
    const parts = [`epoch ${epoch.toLocaleString("en")}` + (batch ? `, batch ${batch} of ${batches}` : "")];
    parts.push(`${frame.test_right} of ${frame.test_total} test digits right`);
    parts.push(`${frame.right} of ${frame.total} in training`);
    if (!frame.is_past && frame.cost !== null) {
      const penalties = Number(this.settings.l2) || Number(this.settings.l1) ? " with its penalties" : "";
      parts.push(`cost during the last epoch${penalties} ${number(frame.cost, 4)}`);
    }
    this.counts.textContent = parts.join(" · ");
    this.weightsTitle.textContent =
      (this.sizes[1] > this.most && this.sizes.length > 2 ? `Weights of the first ${this.most} units` : "Weights of the first layer") +
      ` · ±${number(frame.largest, 2)}`;
    this.images.show(frame.weights, frame.dead);
    this.showConfusion();
    this.showDead();
    if (this.code.textContent !== frame.code) this.code.textContent = frame.code;
    const labels = {
      loss: `Cost: ${number(frame.loss)} in training, ${number(frame.test_loss)} on the test digits`,
      right: `Right answers: ${frame.right} of ${frame.total} in training, ${frame.test_right} of ${frame.test_total} on the test digits`,
      gradient: `Size of the gradient by layer: ${frame.gradient.map((x) => number(x)).join(", ")}`,
    };
    for (const [key, label] of Object.entries(labels)) {
      this.charts[key].canvas.setAttribute("aria-label", label);
      this.charts[key].redraw();
    }
  }

  // --- pictures --------------------------------------------------------------------------------

  wordsOf(j) {
    const isDead = this.frame.dead.some(([l, unit]) => l === 1 && unit === j);
    const image = this.frame.weights[j].map((w) => (w * this.frame.largest) / 100);
    return (
      `unit ${j} of layer 1${isDead ? ", dead: off on all training digits" : ""}\n` +
      `weights from ${number(Math.min(...image))} to ${number(Math.max(...image))}`
    );
  }

  showConfusion() {
    const { confusion } = this.frame;
    confusion.forEach((row, i) => {
      const total = Math.max(1, row.reduce((a, b) => a + b, 0));
      row.forEach((count, j) => {
        const cell = this.cells[i][j];
        const part = i === j ? 0.85 * (count / total) : Math.min(1, (3 * count) / total);
        const text = count ? String(count) : "·";
        if (cell.textContent !== text) cell.textContent = text;
        const { ground, ink } = count ? readable(i === j ? "plus" : "minus", part) : { ground: "", ink: "" };
        cell.style.backgroundColor = ground;
        cell.style.color = ink;
      });
    });
  }

  showDead() {
    const { dead, events } = this.frame;
    const hidden = this.sizes.slice(1, -1).reduce((a, b) => a + b, 0);
    this.dead.show({ dead, events, hidden, rows: "training digits" });
  }

  xRange() {
    const { curves, planned } = this.frame;
    const last = curves.epoch.at(-1);
    return [0, last <= planned ? planned : last];
  }

  drawLines(context, width, height, series, more = {}) {
    const x = this.frame.curves.epoch;
    lineChart(context, width, height, {
      series: series.map(({ values, ...each }) => ({ ...each, points: x.map((at, k) => [at, values[k] ?? NaN]) })),
      xRange: this.xRange(),
      xLabel: "epoch",
      ...more,
    });
    if (!this.frame.is_past) return;
    // The epoch that is shown, in the chart's frame of lineChart.
    const [low, high] = this.xRange();
    const at = 44 + ((this.frame.epoch - low) / (high - low)) * (width - 44 - 64);
    context.strokeStyle = mix("ink", "ink", 1);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(at, 12);
    context.lineTo(at, height - 34);
    context.stroke();
  }

  drawLoss(context, width, height) {
    const { loss, test_loss } = this.frame.curves;
    // The start may be far above all the rest; its line then comes in from above.
    const after = [...loss.slice(1), ...test_loss.slice(1)].filter(Number.isFinite);
    const high = Math.max(...(after.length ? after : [...loss, ...test_loss].filter(Number.isFinite)), 0);
    this.drawLines(context, width, height, [
      { name: "training", values: loss, color: "plus" },
      { name: "test", values: test_loss, color: "minus-text", dash: [5, 3] },
    ], { yRange: [0, high * 1.05 || 1] });
  }

  drawRight(context, width, height) {
    const { curves, total, test_total } = this.frame;
    this.drawLines(context, width, height, [
      { name: "training", values: curves.right.map((n) => (100 * n) / total), color: "plus" },
      { name: "test", values: curves.test_right.map((n) => (100 * n) / test_total), color: "minus-text", dash: [5, 3] },
    ], { yRange: [0, 100] });
  }

  drawGradients(context, width, height) {
    const { series, yRange } = gradientLines(this.frame.gradients);
    this.drawLines(context, width, height, series, { yRange });
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.frame.code);
      this.app.tell("Code copied.");
    } catch {
      getSelection().selectAllChildren(this.code);
      this.app.tell("The code is selected; copy it.");
    }
  }
}

/**
 * A mixture of the card's colour and another, and the colour of text on it. Where neither ink nor
 * paper can be read on the mixture, there is less of the other colour in it.
 */
function readable(name, part) {
  const card = rgb("card");
  const over = rgb(name);
  for (; ; part = Math.max(0, part - 0.02)) {
    const ground = luminance(card.map((x, i) => x + (over[i] - x) * part));
    for (const ink of ["ink", "card"]) {
      const other = luminance(rgb(ink));
      if (part === 0 || Math.max(other, ground) / Math.min(other, ground) > 4.6) {
        return { ground: mix("card", name, part), ink: mix(ink, ink, 0) };
      }
    }
  }
}

/** Relative luminance by WCAG 2, and 0.05, of which ratios are contrasts. */
function luminance(color) {
  const linear = color.map((v) => (v <= 10.3 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.05 + 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}
