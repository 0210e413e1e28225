/** The equations: one sample through all of them, each term with its numbers and its place. */

import { clamp, color, element, heatMap, number, surface } from "../charts.js";
import { INK, SIDE } from "../ink.js";
import { NetworkView, wordsFor } from "../network.js";
import { readSample, sample, sampleState } from "../sample.js";
import { showTip } from "../tip.js";

const RATE = 0.005;
const FIRST = 7; // the test digit that is shown where nothing has been drawn
const PARTS = [
  { key: "input", name: "Input", rule: "a⁰ = x" },
  { key: "forward", name: "Forward", rule: "a = σ(a W + b)" },
  { key: "cost", name: "Cost", rule: "C(a, y)" },
  { key: "BP1", name: "BP1", rule: "δᴸ = ∂C/∂aᴸ ⊙ σ′(zᴸ)" },
  { key: "BP2", name: "BP2", rule: "δ = (δ Wᵀ) ⊙ σ′(z)" },
  { key: "BP3", name: "BP3", rule: "∂C/∂b = Σ δ" },
  { key: "BP4", name: "BP4", rule: "∂C/∂W = aᵀ δ" },
  { key: "update", name: "Step", rule: "W ← W − η ∇W" },
];
const WORDS = {
  input: "The image as the network takes it: a number for each pixel.",
  forward: "Each neuron adds up what comes in, times its weights, and bends the sum.",
  cost: "How far the answer is from the right one, in one number.",
  BP1: "The error of the output: how the cost changes with what goes into each output.",
  BP2: "The error goes back through the same weights, and stops at neurons that are off.",
  BP3: "A bias changes the cost as much as its neuron's error says.",
  BP4: "A weight changes the cost by what came in, times the error of where it leads.",
  update: "Every parameter takes a small step against its gradient.",
};
// A term of a formula: ∇W¹, σ′(z²), (W³)ᵀ, δ², a⁰, y, C …
const TERM = /σ′\(z[⁰¹²³⁴⁵⁶⁷⁸⁹]+\)|∇?[Wb][⁰¹²³⁴⁵⁶⁷⁸⁹]+|[zaδ][⁰¹²³⁴⁵⁶⁷⁸⁹]+|\by\b|\bC\b/g;
const LAYERS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

export function mount(root, app) {
  return new Equations(root, app).interface();
}

class Equations {
  constructor(root, app) {
    this.app = app;
    this.steps = [];
    this.terms = {};
    this.at = 0;
    this.wanted = null; // the symbol of the step that an address names
    this.rate = RATE;
    this.term = null;
    this.build(root);
    app.onTheme(() => this.redraw());
  }

  interface() {
    return {
      onMessage() {},
      onOpen: () => this.trace(),
      onShow: () => this.trace(),
      getState: () => ({
        ...sampleState(),
        step: this.steps[this.at] ? this.keyOf(this.steps[this.at]) : this.wanted,
        rate: this.rate === RATE ? null : this.rate,
      }),
      setState: (state) => this.setState(state),
    };
  }

  keyOf(step) {
    return `${step.equation}-${step.symbol}`;
  }

  build(root) {
    const netCanvas = element("canvas", {
      class: "network",
      tabindex: 0,
      role: "application",
      "aria-label": "The network. Arrows move from neuron to neuron and say their numbers.",
    });
    this.parts = element(
      "ol",
      { class: "parts", "aria-label": "The equations" },
      ...PARTS.map((part) =>
        element(
          "li",
          {},
          element(
            "button",
            { type: "button", onclick: () => this.goToPart(part.key) },
            element("span", { class: "part-name", text: part.name }),
            element("span", { class: "math muted", text: part.rule }),
          ),
        ),
      ),
    );
    this.layerChoice = element("div", { class: "row layers", role: "group", "aria-label": "What is computed" });
    this.title = element("h2", { text: "The equations" });
    this.words = element("p", { class: "muted" });
    this.formula = element("p", { class: "formula math" });
    this.values = element("div", { class: "values" });
    this.worked = element("ul", { class: "worked", tabindex: 0, "aria-label": "With the numbers put in" });
    this.workedTitle = element("h3", { class: "small muted" });
    this.place = element("p", { class: "muted small place", "aria-live": "polite" });
    this.back = element("button", { type: "button", text: "Back", onclick: () => this.goTo(this.at - 1) });
    this.next = element("button", { type: "button", class: "primary", text: "Next step", onclick: () => this.goTo(this.at + 1) });
    this.sampleText = element("p", { class: "muted small" });
    this.labelInput = element(
      "select",
      { "aria-label": "The right answer", onchange: () => this.relabel() },
      ...Array.from({ length: 10 }, (_, k) => element("option", { value: k, text: k })),
    );
    this.other = element("button", { type: "button", text: "Another digit", onclick: () => this.another() });
    root.append(
      this.parts,
      element(
        "div",
        { class: "equations" },
        element(
          "section",
          { class: "card equation" },
          element("div", { class: "row spread" }, this.title, this.layerChoice),
          this.words,
          this.formula,
          this.values,
          this.workedTitle,
          this.worked,
          element("div", { class: "row spread steps" }, this.back, this.place, this.next),
        ),
        element(
          "section",
          { class: "card equation-network" },
          element("h2", { class: "sr", text: "The network" }),
          netCanvas,
          element(
            "div",
            { class: "row spread" },
            element("label", { class: "small muted" }, "It is a", this.labelInput),
            this.sampleText,
            this.other,
          ),
        ),
      ),
    );
    this.view = new NetworkView(netCanvas, {
      hasBars: false,
      onPoint: (what) => showTip(what && this.network ? this.wordsFor(what) : null, netCanvas, what?.x, what?.y),
    });
    root.addEventListener("keydown", (event) => {
      if (event.target === netCanvas || event.target.matches("select, input")) return;
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.goTo(this.at + by);
    });
  }

  redraw() {
    this.view.surface.redraw();
    for (const each of this.surfaces ?? []) each.redraw();
  }

  // --- the server ------------------------------------------------------------------------------

  async trace() {
    try {
      if (!sample.greys.some(Boolean)) {
        const { pixels, label } = await this.app.request("sample", { index: FIRST });
        Object.assign(sample, { strokes: [], pixels, greys: pixels, label });
      }
      const data = { pixels: sample.greys, label: sample.label ?? -1, rate: this.rate };
      const found = await this.app.request("trace", data);
      sample.label = found.label;
      this.take(found);
    } catch {
      // what went wrong has been shown
    }
  }

  take(found) {
    this.steps = found.steps;
    this.terms = found.terms;
    this.network = found.network;
    this.costs = [found.cost, found.new_cost];
    this.labelInput.value = found.label;
    this.view.setNetwork(found.network);
    const L = found.network.sizes.length - 1;
    this.a = Array.from({ length: L + 1 }, (_, l) => this.row("a", l));
    const said = this.a[L].indexOf(Math.max(...this.a[L]));
    this.view.show(this.a, sample.greys.map((grey) => grey / INK), said);
    this.sampleText.textContent = `It is read as ${said}.`;
    if (this.wanted) {
      const index = this.steps.findIndex((step) => this.keyOf(step) === this.wanted);
      this.at = Math.max(index, 0);
      this.wanted = null;
    }
    this.goTo(this.at);
  }

  row(name, l) {
    return this.terms[`${name}${LAYERS[l]}`]?.[0];
  }

  relabel() {
    sample.label = Number(this.labelInput.value);
    this.trace();
  }

  async another() {
    try {
      const index = Math.floor(Math.random() * this.network.tested);
      const { pixels, label } = await this.app.request("sample", { index });
      Object.assign(sample, { strokes: [], pixels, greys: pixels, label });
      await this.trace();
    } catch {
      // shown already
    }
  }

  // --- steps -----------------------------------------------------------------------------------

  goToPart(key) {
    const index = this.steps.findIndex((step) => step.equation === key);
    if (index >= 0) this.goTo(index);
  }

  goTo(index) {
    if (!this.steps.length) return;
    this.at = clamp(index, 0, this.steps.length - 1);
    const step = this.steps[this.at];
    this.term = null;
    [...this.parts.children].forEach((item, k) => {
      const isHere = PARTS[k].key === step.equation;
      if (isHere) item.firstChild.setAttribute("aria-current", "step");
      else item.firstChild.removeAttribute("aria-current");
      if (isHere) item.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    const part = PARTS.find(({ key }) => key === step.equation);
    const isSaid = step.name.startsWith(part.name.toLowerCase());
    const name = isSaid ? step.name : `${part.name}: ${step.name}`;
    this.title.textContent = name[0].toUpperCase() + name.slice(1);
    this.words.textContent = WORDS[step.equation];
    this.back.disabled = this.at === 0;
    this.next.disabled = this.at === this.steps.length - 1;
    this.place.textContent = `${this.at + 1} of ${this.steps.length}`;
    this.fillLayers(step);
    this.fillFormula(step);
    this.fillValues(step);
    this.fillWorked(step);
    this.showTerm(null);
    this.app.changed();
  }

  fillLayers(step) {
    const same = this.steps
      .map((each, index) => ({ each, index }))
      .filter(({ each }) => each.equation === step.equation);
    this.layerChoice.replaceChildren(
      ...(same.length > 1 ? same : []).map(({ each, index }) =>
        element("button", {
          type: "button",
          class: "math small-button",
          text: each.symbol,
          "aria-pressed": String(index === this.at),
          onclick: () => {
            this.goTo(index);
            this.layerChoice.children[same.findIndex((one) => one.index === index)]?.focus();
          },
        }),
      ),
    );
  }

  /** The formula, each term of which can be pointed at. */
  fillFormula(step) {
    const parts = [];
    let last = 0;
    for (const match of step.formula.matchAll(TERM)) {
      if (!this.terms[match[0]]) continue;
      parts.push(step.formula.slice(last, match.index), this.termButton(match[0]));
      last = match.index + match[0].length;
    }
    this.formula.replaceChildren(...parts, step.formula.slice(last));
  }

  termButton(symbol) {
    return element("button", {
      type: "button",
      class: "term",
      text: symbol,
      "data-term": symbol,
      "aria-label": `${symbol}: show it in the network`,
      onpointerenter: () => this.showTerm(symbol),
      onpointerleave: () => this.showTerm(null),
      onfocus: () => this.showTerm(symbol),
      onblur: () => this.showTerm(null),
    });
  }

  /** The values of the formula's terms, as images. */
  fillValues(step) {
    const symbols = [...new Set(step.formula.match(TERM) ?? [])].filter((name) => this.terms[name]);
    if (step.equation === "update") symbols.push(`${step.symbol} new`);
    this.surfaces = [];
    const figures = symbols.map((symbol) => {
      const values = this.terms[symbol];
      const [rows, columns] = [values.length, values[0].length];
      if (rows * columns === 1) {
        return element(
          "figure",
          { class: "value", "data-term": symbol },
          element("figcaption", { class: "math", text: symbol }),
          element("p", { class: "scalar", text: number(values[0][0], 4) }),
        );
      }
      return this.figure(symbol, values, rows, columns);
    });
    const isTall = (figure) => figure.dataset.tall !== undefined;
    this.values.replaceChildren(
      element("div", { class: "strips" }, ...figures.filter((figure) => !isTall(figure))),
      element("div", { class: "matrices" }, ...figures.filter(isTall)),
    );
  }

  figure(symbol, values, rows, columns) {
    const isImage = symbol === "a⁰";
    const [across, down] = isImage ? [SIDE, SIDE] : [columns, rows];
    const cell = down === 1 ? clamp(370 / across, 4, 24) : Math.min(370 / across, 232 / down, 14);
    const canvas = element("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": `${symbol}, ${rows} by ${columns} numbers; arrows move from one to another`,
    });
    canvas.style.width = `${Math.round(cell * across)}px`;
    canvas.style.height = `${Math.round(cell * down)}px`;
    const flat = values.flat();
    const isSigned = flat.some((x) => x < 0);
    let cursor = null; // [row, column] of the cell that is pointed at
    const sheet = surface(canvas, (context, width, height) => {
      heatMap(context, flat, across, { width, height, isSigned });
      context.strokeStyle = color("strong-line");
      context.lineWidth = 1;
      context.strokeRect(0.5, 0.5, width - 1, height - 1);
      if (!cursor) return;
      const [w, h] = [width / across, height / down];
      context.strokeStyle = color("accent");
      context.lineWidth = 2;
      context.strokeRect(cursor[1] * w, cursor[0] * h, w, h);
    });
    this.surfaces.push(sheet);
    const pointAt = (i, j) => {
      cursor = [clamp(i, 0, down - 1), clamp(j, 0, across - 1)];
      const [r, c] = isImage ? [0, cursor[0] * SIDE + cursor[1]] : cursor;
      const name = /b/.test(symbol) ? `${symbol}[${c}]` : `${symbol}[${r}, ${c}]`;
      const [w, h] = [canvas.clientWidth / across, canvas.clientHeight / down];
      const text = `${name} = ${number(values[r][c], 4)}`;
      showTip(text, canvas, (cursor[1] + 0.5) * w, (cursor[0] + 0.5) * h);
      this.showLine(name);
      sheet.redraw();
    };
    const leave = () => {
      cursor = null;
      showTip(null, canvas);
      this.showTerm(null);
      this.showLine(null);
      sheet.redraw();
    };
    const pointed = (event) => {
      const box = canvas.getBoundingClientRect();
      pointAt(
        Math.floor(((event.clientY - box.top) / box.height) * down),
        Math.floor(((event.clientX - box.left) / box.width) * across),
      );
    };
    canvas.addEventListener("pointermove", pointed);
    canvas.addEventListener("pointerdown", pointed);
    canvas.addEventListener("pointerenter", () => this.showTerm(symbol));
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener("focus", () => this.showTerm(symbol));
    canvas.addEventListener("blur", leave);
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      if (cursor) pointAt(cursor[0] + move[0], cursor[1] + move[1]);
      else pointAt(0, 0);
    });
    return element(
      "figure",
      { class: "value", "data-term": symbol, "data-tall": down > 1 },
      element(
        "figcaption",
        {},
        element("span", { class: "math", text: symbol }),
        element("span", { class: "small muted", text: ` ${rows} × ${columns}` }),
      ),
      canvas,
    );
  }

  /** Show which line works out an entry, if one does. */
  showLine(name) {
    for (const line of this.worked.children) {
      const isIt = name !== null && line.textContent.startsWith(`${name} =`);
      line.classList.toggle("shown", isIt);
      if (isIt) this.worked.scrollTop = line.offsetTop - this.worked.offsetTop;
    }
  }

  fillWorked(step) {
    const size = step.shape.reduce((product, n) => product * n, 1);
    this.workedTitle.textContent = step.complete
      ? "With the numbers put in"
      : `With the numbers put in: the ${step.worked.length} largest of ${size} entries`;
    this.worked.replaceChildren(...step.worked.map((line) => element("li", { text: line })));
    this.worked.scrollTop = 0;
  }

  // --- where a term is -------------------------------------------------------------------------

  /** Show in the network what a term stands for; null: what the step computes. */
  showTerm(symbol) {
    const step = this.steps[this.at];
    if (!step) return;
    this.term = symbol;
    for (const each of [...this.formula.children, ...this.values.querySelectorAll("figure")]) {
      each.classList.toggle("shown", each.dataset.term === symbol);
    }
    this.view.mark(this.marksFor(symbol ?? step.symbol, step));
  }

  marksFor(symbol, step) {
    const plain = symbol.replace(" new", "");
    const l = LAYERS.indexOf(plain.match(/[⁰¹²³⁴⁵⁶⁷⁸⁹]/)?.[0] ?? "x");
    const L = this.network.sizes.length - 1;
    const values = this.terms[symbol];
    const isBack = step.equation === "BP2";
    if (plain === "C") return { layers: [L] };
    if (plain === "y") return { neurons: { [L]: values[0] }, names: { [L]: "y" }, layers: [L] };
    if (l < 0 || !values) return null;
    if (/^∇?W/.test(plain)) return { edges: { [l]: values } };
    if (plain.startsWith("a")) return { layers: [l] };
    const marks = { neurons: { [l]: values[0] }, names: { [l]: symbol }, layers: [l] };
    if (plain === step.symbol && isBack) {
      const above = this.terms[`δ${LAYERS[l + 1]}`]?.[0];
      const W = this.terms[`W${LAYERS[l + 1]}`];
      if (above && W) {
        marks.edges = { [l + 1]: W.map((row) => row.map((w, k) => w * above[k])) };
        marks.isBack = true;
      }
    } else if (step.equation !== "forward") marks.edges = {};
    return marks;
  }

  wordsFor(what) {
    const layers = this.network.sizes.map((_, l) => l);
    const rows = (name) => layers.map((l) => this.row(name, l));
    const matrices = (name) => layers.map((l) => this.terms[`${name}${LAYERS[l]}`]);
    return wordsFor(what, this.network, {
      a: this.a,
      z: rows("z"),
      delta: rows("δ"),
      nabla_b: rows("∇b"),
      nabla_W: matrices("∇W"),
      before: this.a,
      rate: this.rate,
      old_W: matrices("W"),
      new_W: layers.map((l) => this.terms[`W${LAYERS[l]} new`]),
    });
  }

  // --- the address -----------------------------------------------------------------------------

  setState(state) {
    const { greys, strokes, pixels, label } = readSample(state);
    const rate = Number(state.rate);
    if (rate >= 0.0001 && rate <= 10) this.rate = rate;
    if (greys) Object.assign(sample, { strokes, pixels, greys, label });
    this.wanted = state.step ?? null;
  }
}
