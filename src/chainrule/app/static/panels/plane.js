/** Two dimensions: points in a plane, a network that learns them, and what each of its units sees. */

import { element, lineChart, number, surface } from "../charts.js";
import { PlaneView, UnitsView } from "../plane_pictures.js";
import { showTip } from "../tip.js";

const DEFAULTS = {
  task: "classes", data: "moons", formula: "", scatter: 0.15, held: 0.3, hidden: "6,4",
  activation: "tanh", solver: "adam", rate: 0.03, batch: 16, alpha: 0, l1: 0, dropout: 0, seed: 0,
  points: "",
};
const RATES = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const PENALTIES = [0, 0.0001, 0.001, 0.01, 0.1, 1];
const TASKS = { classes: "two classes", numbers: "a number" };

export function mount(root, app) {
  return new Plane(root, app).interface();
}

class Plane {
  constructor(root, app) {
    this.app = app;
    this.settings = { ...DEFAULTS };
    this.frame = null;
    this.plays = false;
    this.label = 1;
    this.build(root);
    app.onTheme(() => this.redraw());
  }

  interface() {
    return {
      onMessage: (type, data) => this.onMessage(type, data),
      onOpen: (reply) => this.take(reply),
      onShow: () => this.redraw(),
      getState: () =>
        Object.fromEntries(Object.entries(this.settings).filter(([key, v]) => v !== DEFAULTS[key])),
      setState: (state) => this.setState(state),
    };
  }

  // --- what is on the page ---------------------------------------------------------------------

  build(root) {
    this.inputs = {};
    const choice = (key, label, options) => {
      const input = element("select", { onchange: () => this.set({ [key]: input.value }) });
      this.inputs[key] = input;
      if (options) this.fill(key, options);
      return element("label", { class: "field" }, label, input);
    };
    const slider = (key, label, options) => {
      const input = element("input", { type: "range", min: 0, max: options.length - 1, step: 1 });
      const output = element("output", { class: "math" });
      input.oninput = () => (output.textContent = number(options[input.value]));
      input.onchange = () => this.set({ [key]: options[input.value] });
      this.inputs[key] = input;
      input.showValue = (value) => {
        const near = options.map((one) => Math.abs(one - value));
        input.value = near.indexOf(Math.min(...near));
        output.textContent = number(value);
        input.setAttribute("aria-valuetext", number(value));
      };
      return element("label", { class: "field plane-slider" }, element("span", { class: "row spread" }, label, output), input);
    };
    const typed = (key, label, more = {}) => {
      const input = element("input", {
        type: "text", autocomplete: "off", spellcheck: "false", ...more,
        onchange: () => this.set({ [key]: input.value }),
      });
      this.inputs[key] = input;
      return element("label", { class: "field" }, label, input);
    };
    const range = (low, high, step) =>
      Array.from({ length: Math.round((high - low) / step) + 1 }, (_, k) => +(low + k * step).toFixed(3));

    this.play = element("button", { type: "button", class: "primary", text: "Train", onclick: () => this.toggle() });
    this.step = element("button", { type: "button", text: "One epoch", onclick: () => this.ask("step", { epochs: 1 }) });
    this.reset = element("button", { type: "button", text: "Start again", onclick: () => this.ask("reset") });
    this.formulaField = typed("formula", "Formula", { maxlength: 200, class: "math" });
    this.formulaField.hidden = true;
    const planeCanvas = element("canvas", {
      class: "plane", tabindex: 0, role: "application",
      "aria-label":
        "The plane: what the network says of each place, and the points. Arrows move a mark, " +
        "space places a point there, shift and space one of the other class.",
    });
    const unitsCanvas = element("canvas", {
      class: "units", tabindex: 0, role: "application",
      "aria-label": "The network: a picture of the plane for each unit. Arrows move between units.",
    });
    this.curveCanvas = element("canvas", { class: "curve", role: "img", "aria-label": "" });
    this.counts = element("p", { class: "row plane-counts math", role: "status" });
    this.placing = [1, -1].map((value) =>
      element("button", {
        type: "button", class: value > 0 ? "place-plus" : "place-minus",
        text: value > 0 ? "● blue" : "◆ orange",
        onclick: () => this.setLabel(value),
      }),
    );
    this.removeAll = element("button", { type: "button", text: "Remove all", onclick: () => this.set({ data: "own", points: "" }) });
    root.append(
      element(
        "div",
        { class: "plane-layout" },
        element(
          "section",
          { class: "card plane-settings" },
          element("h2", { text: "Points" }),
          choice("task", "Learn", TASKS),
          choice("data", "Data"),
          this.formulaField,
          slider("scatter", "Noise", range(0, 0.6, 0.05)),
          slider("held", "Held out", range(0, 0.8, 0.1)),
          element("h2", { text: "Network" }),
          typed("hidden", "Units of the hidden layers", { inputmode: "numeric", class: "math" }),
          choice("activation", "Activation"),
          choice("solver", "Optimiser"),
          slider("rate", "Learning rate", RATES),
          slider("batch", "Rows in a batch", [1, 4, 8, 16, 32, 64, 128]),
          element(
            "details",
            {},
            element("summary", { text: "Regularisers and seed" }),
            element(
              "div",
              { class: "plane-more" },
              slider("alpha", "L2 penalty", PENALTIES),
              slider("l1", "L1 penalty", PENALTIES),
              slider("dropout", "Dropout", range(0, 0.8, 0.1)),
              slider("seed", "Seed", range(0, 20, 1)),
            ),
          ),
        ),
        element(
          "section",
          { class: "card plane-network" },
          element("h2", { text: "What each unit sees" }),
          unitsCanvas,
        ),
        element("section", { class: "card row plane-controls", "aria-label": "Training" }, this.play, this.step, this.reset),
        element(
          "section",
          { class: "card plane-output" },
          element("h2", { text: "What the network says" }),
          planeCanvas,
          element(
            "div",
            { class: "row", role: "group", "aria-label": "The class of the next point that you place" },
            element("span", { class: "small muted", text: "Click to place" }),
            ...this.placing,
            this.removeAll,
          ),
        ),
        element(
          "section",
          { class: "card plane-curve" },
          element("div", { class: "row spread" }, element("h2", { text: "Loss" }), this.counts),
          this.curveCanvas,
        ),
      ),
    );
    this.plane = new PlaneView(planeCanvas, { onPlace: (x, y, other) => this.place(x, y, other) });
    this.units = new UnitsView(unitsCanvas, {
      onPoint: (what) => {
        showTip(what && this.units.words(what), unitsCanvas, what?.x, what?.y);
        this.showOutput(what);
      },
    });
    this.curve = surface(this.curveCanvas, (...given) => this.drawCurve(...given));
    this.setLabel(1);
  }

  fill(key, options) {
    const pairs = Array.isArray(options) ? options.map((one) => [one, one]) : Object.entries(options);
    const old = [...this.inputs[key].options].map((one) => one.value).join();
    if (old === pairs.map(([value]) => value).join()) return;
    this.inputs[key].replaceChildren(...pairs.map(([value, text]) => element("option", { value, text })));
  }

  redraw() {
    for (const each of [this.plane, this.units]) each.surface.redraw();
    this.curve.redraw();
  }

  // --- the server ------------------------------------------------------------------------------

  setState(state) {
    for (const key of Object.keys(DEFAULTS)) {
      const value = state[key] ?? DEFAULTS[key];
      this.settings[key] = typeof DEFAULTS[key] === "number" ? Number(value) : value;
      if (Number.isNaN(this.settings[key])) this.settings[key] = DEFAULTS[key];
    }
  }

  onMessage(type, data) {
    if (type === "frame") this.takeFrame(data);
    else if (type === "stopped") this.setPlays(false);
  }

  ask(type, data) {
    return this.app.request(type, data).then((reply) => (this.take(reply), true), () => (this.showSettings(), false));
  }

  set(changes) {
    return this.ask("set", changes);
  }

  toggle() {
    return this.ask(this.plays ? "pause" : "play");
  }

  take(reply) {
    if (reply.settings) {
      this.settings = reply.settings;
      for (const [key, options] of Object.entries(reply.choices)) this.fill(key, options);
      this.plane.setPoints(reply.points, reply.side);
      this.showSettings();
      this.app.changed();
    }
    if (reply.plays !== undefined) this.setPlays(reply.plays);
    if (reply.frame) this.takeFrame(reply.frame);
  }

  takeFrame(frame) {
    this.frame = frame;
    this.units.show(frame);
    this.showOutput(this.units.pointed);
    this.curve.redraw();
    const parts = [`epoch ${frame.epoch.toLocaleString("en")}`];
    if (frame.right) parts.push(`${frame.right[0]} of ${frame.right[1]} right`);
    if (frame.held_right) parts.push(`held out: ${frame.held_right[0]} of ${frame.held_right[1]}`);
    this.counts.textContent = parts.join(" · ");
    this.curveCanvas.setAttribute(
      "aria-label",
      `Loss of the training points ${number(frame.loss)}, of those held out ${number(frame.held_loss)}`,
    );
  }

  /** The output, or the unit that is pointed at. */
  showOutput(what) {
    const unit = what?.kind === "unit" && what.l > 0 ? this.frame?.layers[what.l - 1]?.[what.j] : null;
    this.plane.show(unit ?? this.frame?.output);
  }

  setPlays(plays) {
    this.plays = plays;
    this.play.textContent = plays ? "Pause" : "Train";
    this.step.disabled = plays;
  }

  showSettings() {
    for (const [key, input] of Object.entries(this.inputs)) {
      if (input.showValue) input.showValue(this.settings[key]);
      else input.value = this.settings[key];
    }
    const { data, task } = this.settings;
    this.formulaField.hidden = data !== "formula";
    this.formulaField.firstChild.textContent = task === "numbers" ? "z = f(x, y)" : "blue where y > f(x)";
    this.inputs.formula.placeholder = task === "numbers" ? "sin(x)*cos(y)" : "sin(2*x)";
  }

  // --- points of the visitor's own -------------------------------------------------------------

  setLabel(value) {
    this.label = value;
    this.placing.forEach((button, k) => button.setAttribute("aria-pressed", String((k === 0) === value > 0)));
  }

  place(x, y, isOther) {
    const points = this.plane.points;
    const old =
      this.settings.data === "own"
        ? this.settings.points
        : Array.from(points.x, (_, i) => `${points.x[i].toFixed(2)} ${points.y[i].toFixed(2)} ${+points.value[i].toFixed(2)}`).join(";");
    const value = isOther ? -this.label : this.label;
    const added = `${x.toFixed(2)} ${y.toFixed(2)} ${value}`;
    this.set({ data: "own", points: old ? `${old};${added}` : added });
  }

  drawCurve(context, width, height) {
    const [train, held] = this.frame?.curves ?? [[], []];
    const series = [{ name: "training", points: train, color: "plus" }];
    if (held.some(([, y]) => y !== null)) {
      series.push({ name: "held out", points: held.map(([x, y]) => [x, y ?? NaN]), color: "minus-text", dash: [5, 3] });
    }
    const all = series.flatMap(({ points }) => points.map(([, y]) => y)).filter(Number.isFinite);
    lineChart(context, width, height, {
      series,
      xRange: [0, Math.max(10, this.frame?.epoch ?? 0)],
      yRange: [0, all.length ? Math.max(...all) * 1.05 : 1],
      xLabel: "epoch",
    });
  }
}
