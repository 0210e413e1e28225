/** Draw a digit: a pad, the network that reads it, and one step of backpropagation. */

import { color, element, heatMap, number, superscript, surface } from "../charts.js";
import { INK, Pad, SIDE, writeGreys } from "../ink.js";
import { NetworkView, wordsFor } from "../network.js";
import { readSample, sample, sampleState } from "../sample.js";
import { showTip } from "../tip.js";

const PHASE = 1300; // ms for which a phase of the backward pass is shown
const RATES = [0.0001, 0.1]; // of a step of gradient descent: the smallest, the largest
const RATE = 0.005; // two or three steps change a network's mind
const BLANK = "\u00a0"; // keeps the height of a line
const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const ICONS = {
  undo: "M9 7 5 11l4 4M5 11h9a5 5 0 0 1 0 10h-2",
  clear: "M6 6l12 12M18 6 6 18",
  dice: "M5 5h14v14H5zM9 9h.01M15 9h.01M12 12h.01M9 15h.01M15 15h.01",
};

function icon(name) {
  const holder = element("span", { class: "row" });
  holder.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
  return holder.firstChild;
}

export function mount(root, app) {
  return new Draw(root, app).interface();
}

class Draw {
  constructor(root, app) {
    this.app = app;
    this.read = null; // the last answer of the server
    this.lesson = null; // the last step of backpropagation, until something is drawn
    this.phase = 0;
    this.rate = RATE;
    this.network = null;
    this.isAsking = this.isStale = false;
    this.build(root);
    app.onTheme(() => this.redraw());
  }

  interface() {
    return {
      onMessage: (type, data) => this.onMessage(type, data),
      onOpen: (reply) => this.onOpen(reply),
      onShow: () => this.onShow(),
      getState: () => ({ ...sampleState(), rate: this.rate === RATE ? null : this.rate }),
      setState: (state) => this.setState(state),
    };
  }

  // --- what is on the page ---------------------------------------------------------------------

  build(root) {
    const padCanvas = element("canvas", {
      class: "pad",
      tabindex: 0,
      role: "application",
      "aria-label":
        "Draw a digit here. With the keyboard: arrows move over 8 by 8 pixels, space inks one, " +
        "shift and an arrow draw a line, Delete clears, and a digit's key says what it is.",
    });
    const netCanvas = element("canvas", {
      class: "network",
      tabindex: 0,
      role: "application",
      "aria-label": "The network. Arrows move from neuron to neuron and say their numbers.",
    });
    this.gradientCanvas = element("canvas", { class: "gradient", role: "img", "aria-label": "" });
    this.answer = element("p", { class: "answer none", "aria-hidden": "true", text: "?" });
    this.sure = element("p", { class: "muted sure", text: BLANK });
    this.said = element("p", { class: "sr", role: "status" });
    this.labels = DIGITS.map((digit) =>
      element("button", {
        type: "button",
        text: digit,
        "aria-label": `It is a ${digit}: take a step of backpropagation`,
        onclick: () => this.learn(digit),
        disabled: true,
      }),
    );
    this.nearest = element("ol", { class: "nearest" });
    this.forget = element("button", {
      type: "button",
      text: "Undo all steps",
      disabled: true,
      onclick: () => this.reset(),
    });
    this.rateInput = element("input", {
      type: "range",
      min: Math.log10(RATES[0]),
      max: Math.log10(RATES[1]),
      step: 0.1,
      "aria-label": "Size of a step, η",
      oninput: () => this.setRate(+(10 ** this.rateInput.value).toPrecision(2)),
    });
    this.rateText = element("output", { class: "math" });
    this.phases = element("ol", { class: "phases", "aria-label": "One step of backpropagation" });
    this.caption = element("p", { class: "caption math", "aria-live": "polite" });
    this.numbers = element("div", { class: "numbers" });
    this.details = element(
      "details",
      { ontoggle: () => this.fillNumbers() },
      element("summary", { text: "All numbers" }),
      this.numbers,
    );
    this.undo = element("button", { type: "button", onclick: () => this.pad.undo() }, icon("undo"), "Undo");
    this.clear = element("button", { type: "button", onclick: () => this.pad.clear() }, icon("clear"), "Clear");
    this.dice = element(
      "button",
      { type: "button", title: "One of the digits that the network was not trained on", onclick: () => this.testDigit() },
      icon("dice"),
      "Test digit",
    );
    root.append(
      this.said,
      element(
        "div",
        { class: "draw" },
        element(
          "section",
          { class: "card draw-pad" },
          element("h2", { text: "Draw a digit" }),
          padCanvas,
          element("div", { class: "row tools-row" }, this.undo, this.clear, this.dice),
        ),
        element(
          "section",
          { class: "card draw-network" },
          element("h2", { class: "sr", text: "The network" }),
          netCanvas,
          this.phases,
          this.caption,
        ),
        element(
          "section",
          { class: "card draw-answer" },
          element("h2", { class: "small muted", text: "It reads" }),
          this.answer,
          this.sure,
        ),
        element(
          "section",
          { class: "card draw-teach" },
          element("h2", { text: "What is it really?" }),
          element("div", { class: "labels" }, ...this.labels),
          element("label", { class: "rate small muted" }, "Step size", this.rateInput, this.rateText),
          this.forget,
        ),
        element(
          "section",
          { class: "card draw-looked" },
          element("h2", { text: "What it looked for" }),
          element(
            "div",
            { class: "looked" },
            this.gradientCanvas,
            element(
              "ul",
              { class: "key small muted" },
              element("li", {}, element("span", { class: "swatch plus-swatch" }), "more ink here speaks for it"),
              element("li", {}, element("span", { class: "swatch minus-swatch" }), "more ink here speaks against"),
            ),
          ),
        ),
        element(
          "section",
          { class: "card draw-nearest" },
          element("h2", { text: "Nearest training digits" }),
          this.nearest,
        ),
      ),
      this.details,
    );
    this.pad = new Pad(padCanvas, () => this.drawn());
    padCanvas.addEventListener("keydown", (event) => {
      if (/^[0-9]$/.test(event.key) && !this.pad.isEmpty) this.learn(Number(event.key));
    });
    this.view = new NetworkView(netCanvas, {
      onPoint: (what) => showTip(what && this.wordsFor(what), netCanvas, what?.x, what?.y),
    });
    this.gradient = surface(this.gradientCanvas, (...given) => this.drawGradient(...given));
    this.setRate(RATE);
    this.fillNearest();
    this.showPhases();
  }

  redraw() {
    this.pad.surface.redraw();
    this.view.surface.redraw();
    this.gradient.redraw();
    this.fillNearest();
  }

  // --- the server ------------------------------------------------------------------------------

  onOpen(reply) {
    if (reply.network) this.setNetwork(reply.network);
    else if (reply.training) this.onMessage("training", reply.training);
  }

  onMessage(type, data) {
    if (type === "training") {
      if (!this.network) this.view.setNetwork({ sizes: data.sizes, W: [], b: [] });
      const part = Math.round((100 * data.done) / data.epochs);
      this.caption.textContent = `The network is being trained on 1437 digits: ${part} %`;
    } else if (type === "ready") {
      this.app.request("network").then((network) => this.setNetwork(network), () => {});
    }
  }

  setNetwork(network) {
    this.network = network;
    this.lesson = null;
    this.view.setNetwork(network);
    this.forget.disabled = !network.steps;
    this.showPhases();
    this.ask();
  }

  /** Something has been drawn: the network is asked, one question at a time. */
  drawn() {
    sample.strokes = this.pad.strokes;
    sample.pixels = this.pad.pixels;
    sample.label = null;
    this.lesson = null;
    this.ask();
    this.app.changed();
  }

  async ask() {
    sample.greys = this.pad.greys();
    const isEmpty = this.pad.isEmpty;
    this.undo.disabled = this.clear.disabled = isEmpty;
    for (const button of this.labels) button.disabled = isEmpty || !this.network;
    this.labels.forEach((button, k) => button.classList.toggle("known", k === sample.label));
    if (isEmpty) {
      this.showRead(null);
      return;
    }
    if (this.isAsking) {
      this.isStale = true;
      return;
    }
    if (!this.network) return;
    this.isAsking = true;
    const { dataset } = this.view.canvas; // for those who measure
    dataset.asking = "yes";
    const [before, greys] = [performance.now(), sample.greys];
    try {
      const read = await this.app.request("read", { pixels: greys });
      dataset.ms = (performance.now() - before).toFixed(1);
      if (!this.pad.isEmpty && !this.lesson) this.showRead(read);
      dataset.shown = writeGreys(greys);
    } catch {
      // what went wrong has been shown; after a break the panel is opened again, and asks
    }
    this.isAsking = false;
    if (this.isStale) {
      this.isStale = false;
      this.ask();
    } else delete dataset.asking;
  }

  async testDigit() {
    try {
      const index = Math.floor(Math.random() * (this.network?.tested ?? 1));
      const { pixels, label } = await this.app.request("sample", { index });
      this.pad.set([], pixels);
      sample.label = label;
      this.ask();
    } catch {
      // shown already
    }
  }

  async learn(label) {
    if (!this.network || this.pad.isEmpty || this.isLearning) return;
    this.isLearning = true;
    try {
      const before = this.network;
      const rate = this.rate;
      const lesson = await this.app.request("learn", { pixels: sample.greys, label, rate });
      this.lesson = { ...lesson, before, read: this.read };
      this.network = lesson.network;
      this.forget.disabled = false;
      sample.label = label;
      this.labels.forEach((button, k) => button.classList.toggle("known", k === label));
      this.app.changed();
      this.showPhases();
      this.goTo(1, !this.view.still);
    } catch {
      // shown already
    }
    this.isLearning = false;
  }

  async reset() {
    try {
      this.setNetwork(await this.app.request("reset"));
    } catch {
      // shown already
    }
  }

  // --- the answer ------------------------------------------------------------------------------

  showRead(read) {
    this.read = read;
    const sizes = this.network?.sizes;
    if (sizes) {
      if (read) this.view.show(read.a, sample.greys.map((grey) => grey / INK), read.said);
      else this.view.show(sizes.map((n) => new Array(n).fill(0)), null, null);
    }
    if (!this.lesson) {
      this.view.mark(null);
      this.showPhases();
    }
    const outputs = read?.a.at(-1);
    this.answer.textContent = read ? read.said : "?";
    this.answer.classList.toggle("none", !read);
    this.sure.textContent = read ? `${percent(outputs[read.said])} sure` : BLANK;
    this.say(read ? `It reads ${read.said}, ${percent(outputs[read.said])} sure.` : "");
    const about = read ? `What speaks for a ${read.said}, by pixel` : "Nothing has been drawn";
    this.gradientCanvas.setAttribute("aria-label", about);
    this.gradient.redraw();
    this.fillNearest();
    this.fillNumbers();
  }

  /** Say the answer to those who do not see it, once the drawing has stopped. */
  say(text) {
    clearTimeout(this.saying);
    this.saying = setTimeout(() => {
      this.said.textContent = text;
    }, 400);
  }

  drawGradient(context, width, height) {
    const values = this.read?.gradient ?? new Array(SIDE * SIDE).fill(0);
    heatMap(context, values, SIDE, { width, height, isSigned: true });
    const cell = width / SIDE;
    context.fillStyle = color("ink");
    (this.read ? sample.greys : []).forEach((grey, k) => {
      const r = (cell * 0.26 * grey) / INK;
      context.beginPath();
      context.arc(((k % SIDE) + 0.5) * cell, (Math.floor(k / SIDE) + 0.5) * cell, r, 0, 7);
      context.fill();
    });
  }

  fillNearest() {
    const found = this.read?.neighbours ?? new Array(10).fill(null);
    while (this.nearest.children.length < found.length) {
      const canvas = element("canvas", { width: SIDE, height: SIDE, role: "img" });
      this.nearest.append(element("li", {}, canvas, element("span", { text: BLANK })));
    }
    found.forEach((one, k) => {
      const [canvas, label] = this.nearest.children[k].children;
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, SIDE, SIDE);
      (one?.pixels ?? []).forEach((grey, i) => {
        context.fillStyle = color("ink", grey / INK);
        context.fillRect(i % SIDE, Math.floor(i / SIDE), 1, 1);
      });
      const text = one ? `Training digit ${one.index}, a ${one.label}, ${number(one.distance)} away` : "";
      canvas.setAttribute("aria-label", text || "none yet");
      canvas.title = text;
      label.textContent = one ? one.label : BLANK;
    });
  }

  // --- one step of backpropagation -------------------------------------------------------------

  setRate(rate) {
    this.rate = rate;
    this.rateInput.value = Math.log10(rate);
    this.rateText.textContent = `η = ${number(rate, 2)}`;
    this.app.changed();
  }

  /** What the phases are for this network: their names, what is marked, and a line of words. */
  phaseList() {
    const L = (this.network?.sizes.length ?? 4) - 1;
    const mark = superscript;
    const lesson = this.lesson;
    const list = [{ name: "Forward", rule: `a${mark(L)}` }];
    const deltas = (from) =>
      Object.fromEntries(Array.from({ length: L - from + 1 }, (_, k) => [from + k, lesson.delta[from + k]]));
    const largest = (values) =>
      values.reduce((best, x, j) => (Math.abs(x) > Math.abs(values[best]) ? j : best), 0);
    list[0].line = () => `a${mark(L)} says ${largest(lesson.a[L])}, with ${percent(Math.max(...lesson.a[L]))}; it is a ${lesson.label}`;
    list.push({
      name: "BP1",
      rule: `δ${mark(L)}`,
      marks: () => ({ neurons: { [L]: lesson.delta[L] }, edges: {} }),
      line: () => {
        const j = lesson.label;
        const [a, y, d] = [lesson.a[L][j], lesson.y[j], lesson.delta[L][j]];
        const plain = Math.abs(a - y - d) < 1e-5;
        return `The error of the output: ${plain ? `δ${mark(L)}[${j}] = a − y = ${number(a)} − ${number(y)} = ` : `δ${mark(L)}[${j}] = `}${number(d)}`;
      },
    });
    for (let l = L - 1; l >= 1; l--) {
      list.push({
        name: "BP2",
        rule: `δ${mark(l)}`,
        marks: () => ({
          neurons: deltas(l),
          edges: {
            [l + 1]: lesson.before.W[l + 1].map((row) =>
              row.map((w, k) => w * lesson.delta[l + 1][k]),
            ),
          },
          isBack: true,
        }),
        line: () => {
          const j = largest(lesson.delta[l]);
          return `The error goes back: δ${mark(l)} = (δ${mark(l + 1)} W${mark(l + 1)}ᵀ) ⊙ σ′(z${mark(l)}); the largest is δ${mark(l)}[${j}] = ${number(lesson.delta[l][j])}`;
        },
      });
    }
    list.push({
      name: "BP3, BP4",
      rule: "∇b, ∇W",
      marks: () => ({
        neurons: deltas(1),
        edges: Object.fromEntries(lesson.nabla_W.map((W, l) => [l, W]).filter(([, W]) => W)),
      }),
      line: () => "The gradient: ∂C/∂b = δ, and ∂C/∂W = aᵀδ for each connection",
    });
    list.push({
      name: "Step",
      rule: "W − η ∇W",
      line: () =>
        `Every weight moves against its gradient, and the cost goes from ${number(lesson.cost)} to ${number(lesson.new_cost)}`,
    });
    return list;
  }

  showPhases() {
    const list = this.phaseList();
    if (this.phases.children.length !== list.length) {
      this.phases.replaceChildren(
        ...list.map((phase, k) =>
          element(
            "li",
            {},
            element(
              "button",
              { type: "button", onclick: () => this.goTo(k) },
              element("span", { text: phase.name }),
              element("span", { class: "math muted", text: phase.rule }),
            ),
          ),
        ),
      );
    }
    const isReady = Boolean(this.lesson);
    clearTimeout(this.timer);
    [...this.phases.children].forEach((item, k) => {
      item.firstChild.disabled = !isReady;
      if (!isReady) item.firstChild.removeAttribute("aria-current");
      item.firstChild.classList.toggle("shown", isReady && k === this.phase);
    });
    if (!isReady && this.network) {
      const { trained, correct, tested } = this.network;
      this.caption.textContent = this.read
        ? "Say what it really is, and watch the error flow back."
        : `Trained on ${trained} digits, it reads ${correct} of ${tested} others right.`;
    }
  }

  goTo(k, goesOn = false) {
    if (!this.lesson) return;
    const list = this.phaseList();
    const lesson = this.lesson;
    const isLast = k === list.length - 1;
    this.phase = k;
    this.view.setNetwork(isLast ? this.network : { ...lesson.before });
    if (isLast) this.showRead(lesson.after);
    else if (lesson.read) this.showRead(lesson.read);
    this.view.mark(list[k].marks?.() ?? null);
    this.showPhases();
    [...this.phases.children].forEach((item, i) => {
      if (i === k) item.firstChild.setAttribute("aria-current", "step");
      else item.firstChild.removeAttribute("aria-current");
    });
    this.caption.textContent = list[k].line();
    this.fillNumbers();
    if (goesOn && !isLast) this.timer = setTimeout(() => this.goTo(k + 1, true), PHASE);
  }

  numbersShown() {
    const lesson = this.lesson;
    if (!lesson) return this.read ? { a: this.read.a, z: this.read.z } : {};
    return {
      a: lesson.a,
      z: lesson.read?.z,
      delta: lesson.delta,
      nabla_W: lesson.nabla_W,
      nabla_b: lesson.nabla_b,
      before: lesson.a,
      rate: lesson.rate,
      old_W: lesson.before.W,
      new_W: lesson.network.W,
    };
  }

  wordsFor(what) {
    return wordsFor(what, this.lesson?.before ?? this.network, this.numbersShown());
  }

  /** Every number by neuron, for those who read rather than look. */
  fillNumbers() {
    if (!this.details.open) return;
    const { a, z, delta } = this.numbersShown();
    if (!a) {
      this.numbers.textContent = "Nothing has been drawn.";
      return;
    }
    const tables = a.slice(1).map((values, k) => {
      const l = k + 1;
      const head = ["neuron", `z${superscript(l)}`, `a${superscript(l)}`, `δ${superscript(l)}`];
      const cell = (x, name) => element("td", { "data-name": name, "data-value": x ?? "", text: number(x, 4) });
      return element(
        "table",
        { "data-layer": l },
        element("caption", { text: `Layer ${l}` }),
        element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col", text })))),
        element(
          "tbody",
          {},
          ...values.map((x, j) =>
            element(
              "tr",
              {},
              element("th", { scope: "row", text: j }),
              cell(z?.[l][j], "z"),
              cell(x, "a"),
              cell(delta?.[l][j] ?? null, "delta"),
            ),
          ),
        ),
      );
    });
    this.numbers.replaceChildren(...tables);
  }

  // --- the address -----------------------------------------------------------------------------

  setState(state) {
    const { strokes, pixels, label } = readSample(state);
    const rate = Number(state.rate);
    if (rate >= RATES[0] && rate <= RATES[1]) this.setRate(rate);
    if (strokes.length || pixels) {
      this.pad.set(strokes, pixels);
      sample.label = label;
      this.ask();
    }
  }

  onShow() {
    if (this.pad.strokes !== sample.strokes || this.pad.pixels !== sample.pixels) {
      const label = sample.label;
      this.pad.set(sample.strokes, sample.pixels);
      sample.label = label;
    }
    this.redraw();
  }
}

/** A probability in percent. */
function percent(p) {
  return `${(100 * p).toFixed(p > 0.995 && p < 0.9995 ? 1 : 0)} %`;
}
