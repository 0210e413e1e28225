/** Pictures of a training: gradients by layer, dead units, and weights as images. */

import { clamp, color, element, signed, surface } from "./charts.js";

const GAP = 6;
const NAMED = 6; // dead units of a layer
const GRADIENTS = [
  ["plus", []], ["minus-text", [6, 3]], ["ink", [2, 3]], ["muted", []], ["plus", [2, 2]],
  ["minus-text", []], ["ink", [8, 3, 2, 3]],
];

export const GRADIENTS_TITLE = "Gradients, log₁₀ ‖∂C/∂W‖";

/** The lines of the gradients' sizes, a list of numbers a layer, and the range of the chart. */
export function gradientLines(gradients) {
  const series = gradients.map((values, k) => ({
    name: `layer ${k + 1}`, color: GRADIENTS[k % GRADIENTS.length][0], dash: GRADIENTS[k % GRADIENTS.length][1],
    values: values.map((x) => (x > 0 ? Math.log10(x) : NaN)),
  }));
  const all = series.flatMap((each) => each.values).filter(Number.isFinite);
  const [low, high] = all.length ? [Math.floor(Math.min(...all) - 0.4), Math.ceil(Math.max(...all))] : [-1, 0];
  return { series, yRange: [low, Math.max(high, low + 1)] };
}

/** Dead units by name, and a list of when units died or came back. */
export class DeadUnits {
  constructor() {
    this.count = element("p", { class: "small" });
    this.list = element("ul");
    const scrolled = element("div", { class: "train-events small", tabindex: 0, role: "group", "aria-label": "Units that died or came back" }, this.list);
    this.root = element("div", {}, element("h2", { text: "Dead units" }), this.count, scrolled);
  }

  /** `rows` are those on which they are off, such as "training digits". */
  show({ dead, events, hidden, rows }) {
    const named = [...Map.groupBy(dead, ([l]) => l)].map(
      ([l, units]) =>
        `${units.slice(0, NAMED).map(([, j]) => j).join(", ")}${units.length > NAMED ? " …" : ""} of layer ${l}`,
    );
    this.count.textContent = dead.length
      ? `${dead.length} of ${hidden} hidden units off on all ${rows}: ${named.join("; ")}`
      : hidden ? `Each hidden unit answers to some of the ${rows}.` : "\u00a0";
    const key = JSON.stringify(events);
    if (key === this.shown) return;
    this.shown = key;
    this.list.replaceChildren(
      ...events.toReversed().map(({ epoch, what, layer, unit }) =>
        element("li", {
          text: `epoch ${epoch}: unit ${unit} of layer ${layer} ${what === "died" ? "died" : "came back"}`,
        }),
      ),
    );
  }
}

/** Images of 8 x 8 weights on a canvas, a unit each; the units can be pointed at. */
export class WeightImages {
  constructor(canvas, { onPoint }) {
    this.canvas = canvas;
    this.images = [];
    this.dead = new Set();
    this.focused = null;
    this.onPoint = onPoint;
    this.surface = surface(canvas, (...given) => this.draw(...given));
    canvas.addEventListener("pointermove", (event) => this.point(this.at(event.offsetX, event.offsetY)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("blur", () => this.point(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(images, dead) {
    this.images = images;
    this.dead = new Set(dead.filter(([l]) => l === 1).map(([, j]) => j));
    this.surface.redraw();
  }

  /** Columns, and the width of an image with its gap, that fill the canvas best. */
  grid(width, height) {
    let best = { columns: 1, side: 0 };
    for (let columns = 1; columns <= Math.max(1, this.images.length); columns++) {
      const rows = Math.ceil(this.images.length / columns);
      const side = Math.min((width + GAP) / columns, (height + GAP) / rows, 84);
      if (side > best.side) best = { columns, side };
    }
    return best;
  }

  place(j) {
    const { columns, side } = this.grid(this.canvas.clientWidth, this.canvas.clientHeight);
    return { x: (j % columns) * side, y: Math.floor(j / columns) * side, side: side - GAP };
  }

  at(x, y) {
    const { columns, side } = this.grid(this.canvas.clientWidth, this.canvas.clientHeight);
    const column = Math.floor(x / side);
    const j = Math.floor(y / side) * columns + column;
    return column < columns && j >= 0 && j < this.images.length ? j : null;
  }

  key(event) {
    const { columns } = this.grid(this.canvas.clientWidth, this.canvas.clientHeight);
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (event.key === "Escape") this.point(null);
    else if (event.key in moves && this.images.length) {
      const from = this.focused ?? -1;
      this.point(from < 0 ? 0 : clamp(from + moves[event.key], 0, this.images.length - 1));
    } else return;
    event.preventDefault();
  }

  point(j) {
    if (j === this.focused) return;
    this.focused = j;
    const place = j === null ? null : this.place(j);
    this.onPoint(j, place && { x: place.x + place.side / 2, y: place.y + place.side / 2 });
    this.surface.redraw();
  }

  draw(context, width, height) {
    const dots = devicePixelRatio || 1;
    const snap = (at) => Math.round(at * dots) / dots;
    const tones = new Map();
    for (let k = -100; k <= 100; k++) tones.set(k, signed(k / 100));
    this.images.forEach((image, j) => {
      const { x, y, side } = this.place(j);
      const cell = side / 8;
      for (let i = 0; i < 64; i++) {
        const [left, top] = [snap(x + (i % 8) * cell), snap(y + Math.floor(i / 8) * cell)];
        context.fillStyle = tones.get(image[i]);
        context.fillRect(
          left, top, snap(x + (i % 8) * cell + cell) - left, snap(y + Math.floor(i / 8) * cell + cell) - top,
        );
      }
      const isDead = this.dead.has(j);
      if (isDead) {
        context.fillStyle = color("card", 0.6);
        context.fillRect(x, y, side, side);
        context.strokeStyle = color("ink");
        context.lineWidth = 1.5;
        context.beginPath();
        context.moveTo(x + 3, y + 3);
        context.lineTo(x + side - 3, y + side - 3);
        context.moveTo(x + side - 3, y + 3);
        context.lineTo(x + 3, y + side - 3);
        context.stroke();
      }
      if (j === this.focused) {
        context.strokeStyle = color("ink");
        context.lineWidth = 2;
        context.strokeRect(x + 1, y + 1, side - 2, side - 2);
      }
    });
  }
}
