/**
 * The picture of a network: an image, neurons by layer, the strongest connections.
 *
 * It shows one of these: activations and what flows forward; δ by layer and what flows back; or
 * numbers of connections, such as a gradient. Numbers move to what they are to be within a few
 * frames.
 */

import { MARKED, clamp, color, mix, number, signed, superscript, surface } from "./charts.js";

const SIDE = 8;
const STRONGEST = [0, 110, 80, 50]; // connections drawn, by layer
const SPEED = 70; // ms in which a number comes nearer by a factor of e
const TOP = 22; // pixels, for the names of the layers
const NEAR = 7; // pixels from which a connection is pointed at

export class NetworkView {
  /** `onPoint(what)` gets {kind: "pixel" | "neuron" | "edge", l, i, j, x, y}, or null. */
  constructor(canvas, { onPoint = () => {}, hasBars = true } = {}) {
    this.canvas = canvas;
    this.onPoint = onPoint;
    this.hasBars = hasBars;
    this.network = null;
    this.target = []; // activations by layer, as they are to be shown
    this.shown = []; // as they are shown now
    this.marks = null; // see `mark`
    this.pointed = null;
    this.answer = null;
    this.surface = surface(canvas, (...given) => this.draw(...given));
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerdown", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.setPointed(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.setPointed(null));
  }

  /** `network` has sizes, W and b by layer. */
  setNetwork(network) {
    const [old, sizes] = [this.network?.sizes, network.sizes];
    this.network = network;
    if (String(old) !== String(sizes)) this.shown = sizes.map((n) => new Array(n).fill(0));
    if (!this.target.length) this.target = this.shown.map((values) => values.slice());
    this.surface.redraw();
  }

  /** Show activations, by layer; `image` are greys from 0 to 1, `said` the output read. */
  show(a, image, said = null) {
    this.target = a;
    this.image = image;
    this.answer = said;
    this.started = performance.now();
    this.surface.redraw();
  }

  /**
   * Lay numbers over the network. {neurons: {l: values}} colours neurons by signed numbers,
   * which are δ unless {names: {l: text}} says what they are; {edges: {l: matrix}} draws the largest of them as connections, {layers: [l]} frames layers; {isBack: true} lets what is drawn move from the output to the input.
   */
  mark(marks) {
    this.marks = marks;
    this.surface.redraw();
  }

  // --- where things are ------------------------------------------------------------------------

  /** Places for a width and a height. */
  layOut(width, height) {
    if (this.places?.width === width && this.places?.height === height) {
      if (this.places.sizes === this.network.sizes) return this.places;
    }
    const sizes = this.network.sizes;
    const L = sizes.length - 1;
    const isNarrow = width < 520;
    const image = Math.min(isNarrow ? width * 0.27 : width * 0.24, height * 0.5);
    const bars = this.hasBars ? (isNarrow ? 74 : clamp(width * 0.28, 168, 240)) : 40;
    const [first, last] = [image + width * (isNarrow ? 0.13 : 0.14), width - bars];
    const layers = sizes.map((n, l) => {
      if (l === 0) {
        const cell = image / SIDE;
        return Array.from({ length: n }, (_, i) => ({
          x: ((i % SIDE) + 0.5) * cell,
          y: (height + TOP) / 2 + (Math.floor(i / SIDE) + 0.5 - SIDE / 2) * cell,
          r: cell / 2,
        }));
      }
      const x = L === 1 ? last : first + ((last - first) * (l - 1)) / (L - 1);
      const room = height - 24 - TOP;
      const pitch = Math.min(room / n, height / (l === L ? 12 : 17));
      return Array.from({ length: n }, (_, j) => ({
        x,
        y: (height + TOP) / 2 + (j - (n - 1) / 2) * pitch,
        r: clamp(pitch * (n > 20 ? 0.38 : 0.32), 1, 18),
      }));
    });
    this.places = { width, height, sizes, layers, image, bars, L };
    return this.places;
  }

  /** A connection's points: from, two that bend it, to. */
  curve(l, i, j) {
    const { layers } = this.places;
    const [from, to] = [layers[l - 1][i], layers[l][j]];
    const bend = (to.x - from.x) * 0.45;
    return [from, { x: from.x + bend, y: from.y }, { x: to.x - bend, y: to.y }, to];
  }

  // --- what flows ------------------------------------------------------------------------------

  /** The strongest connections of each layer: [{l, i, j, value}], value from -1 to 1. */
  strongest() {
    const { sizes, W } = this.network;
    const found = [];
    for (let l = 1; l < sizes.length; l++) {
      if (!W[l]) continue;
      const given = this.marks?.edges?.[l];
      if (this.marks?.edges && !given) continue;
      const all = [];
      let largest = 1e-12;
      for (let i = 0; i < sizes[l - 1]; i++) {
        const a = this.shown[l - 1][i];
        if (!given && !a) continue;
        for (let j = 0; j < sizes[l]; j++) {
          const value = given ? given[i][j] : a * W[l][i][j];
          const size = Math.abs(value);
          if (size < 1e-9) continue;
          largest = Math.max(largest, size);
          all.push({ l, i, j, value });
        }
      }
      all.sort((p, q) => Math.abs(q.value) - Math.abs(p.value));
      const most = STRONGEST[Math.min(l, STRONGEST.length - 1)];
      for (const each of all.slice(0, most)) found.push({ ...each, value: each.value / largest });
    }
    return found;
  }

  /** Move what is shown nearer to what is to be shown; whether it is there. */
  approach() {
    const now = performance.now();
    const past = Math.min(now - (this.last ?? now - 16), 50);
    this.last = now;
    const part = this.still ? 1 : 1 - Math.exp(-past / SPEED);
    let isThere = true;
    this.target.forEach((values, l) => {
      const shown = this.shown[l];
      if (!shown || shown.length !== values.length) this.shown[l] = values.slice();
      else {
        const close = 0.004 * Math.max(1e-9, ...values.map(Math.abs));
        values.forEach((value, j) => {
          const rest = value - shown[j];
          if (Math.abs(rest) <= close) shown[j] = value;
          else {
            shown[j] += rest * part;
            isThere = false;
          }
        });
      }
    });
    return isThere;
  }

  // --- drawing ---------------------------------------------------------------------------------

  draw(context, width, height) {
    if (!this.network) return;
    const isThere = this.approach();
    const places = this.layOut(width, height);
    this.edges = this.strongest();
    this.drawEdges(context);
    this.drawImage(context, places);
    for (let l = 1; l <= places.L; l++) this.drawLayer(context, l, places);
    this.drawOutputs(context, places);
    this.drawNames(context, places);
    this.drawFrames(context, places);
    const moves = this.marks?.isBack && !this.still;
    if (!isThere || moves) this.surface.redraw();
    else this.last = undefined;
  }

  drawEdges(context) {
    const dash = this.marks?.isBack && !this.still ? (performance.now() / 18) % 24 : 0;
    const pointed = this.pointed;
    for (const { l, i, j, value } of [...this.edges].reverse()) {
      const [from, a, b, to] = this.curve(l, i, j);
      const size = Math.abs(value);
      let alpha = 0.1 + 0.8 * size;
      if (pointed?.kind === "neuron") {
        const touches = (l === pointed.l && j === pointed.j) || (l === pointed.l + 1 && i === pointed.j);
        alpha = touches ? Math.max(alpha, 0.6) : alpha * 0.15;
      }
      const isPointed =
        pointed?.kind === "edge" && pointed.l === l && pointed.i === i && pointed.j === j;
      context.strokeStyle = color(value < 0 ? "minus" : "plus", isPointed ? 1 : alpha);
      context.lineWidth = isPointed ? 4 : 0.5 + 2.2 * size;
      if (this.marks?.isBack) {
        context.setLineDash([6, 6]);
        context.lineDashOffset = dash;
      }
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.bezierCurveTo(a.x, a.y, b.x, b.y, to.x, to.y);
      context.stroke();
    }
    context.setLineDash([]);
  }

  drawImage(context, { layers, image, height }) {
    const top = (height + TOP) / 2 - image / 2;
    context.fillStyle = color("card");
    context.fillRect(0, top, image, image);
    const values = this.image ?? new Array(SIDE * SIDE).fill(0);
    for (let i = 0; i < layers[0].length; i++) {
      const { x, y, r } = layers[0][i];
      context.fillStyle = mix("card", "ink", values[i]);
      context.fillRect(x - r + 0.5, y - r + 0.5, 2 * r - 1, 2 * r - 1);
    }
    context.strokeStyle = color("strong-line");
    context.lineWidth = 1;
    context.strokeRect(0.5, top + 0.5, image - 1, image - 1);
    const i = this.pointed?.kind === "pixel" ? this.pointed.j : null;
    if (i !== null) {
      const { x, y, r } = layers[0][i];
      context.strokeStyle = color("accent");
      context.lineWidth = 2;
      context.strokeRect(x - r, y - r, 2 * r, 2 * r);
    }
  }

  drawLayer(context, l, { layers }) {
    const values = this.shown[l];
    const marked = this.marks?.neurons?.[l];
    const full = Math.max(1e-9, ...(marked ?? values).map(Math.abs));
    layers[l].forEach(({ x, y, r }, j) => {
      context.beginPath();
      context.arc(x, y, r, 0, 7);
      if (marked) context.fillStyle = signed(marked[j] / full);
      else context.fillStyle = mix("card", "ink", Math.max(0, values[j] / full));
      context.fill();
      const isPointed = this.pointed?.kind === "neuron" && this.pointed.l === l && this.pointed.j === j;
      context.strokeStyle = color(isPointed ? "accent" : "strong-line");
      context.lineWidth = isPointed ? 3 : 1.25;
      context.stroke();
      if (marked && marked[j] / full < -MARKED && r >= 4) {
        context.fillStyle = color("card");
        context.fillRect(x - r * 0.5, y - r * 0.12, r, Math.max(1, r * 0.24));
      }
    });
  }

  drawOutputs(context, { layers, bars, L, width }) {
    const family = getComputedStyle(document.body).fontFamily;
    const marked = this.marks?.neurons?.[L];
    const values = marked ?? this.shown[L];
    const full = marked ? Math.max(1e-9, ...marked.map(Math.abs)) : 1;
    layers[L].forEach(({ x, y, r }, j) => {
      const isSaid = !marked && this.answer === j;
      const size = clamp(r * 1.5, 11, 24);
      context.font = `${isSaid ? 700 : 500} ${size}px ${family}`;
      context.textBaseline = "middle";
      context.textAlign = "left";
      context.fillStyle = color(isSaid || this.answer === null ? "ink" : "muted");
      context.fillText(String(j), x + r + 9, y + 1);
      if (!this.hasBars) return;
      const figures = clamp(size - 5, 13, 18);
      const start = x + r + 14 + size * 0.7;
      const room = width - start - (bars < 100 ? 0 : 3.6 * figures);
      const high = clamp(r * 0.9, 5, 14);
      context.fillStyle = color("field");
      context.fillRect(start, y - high / 2, room, high);
      const part = clamp(Math.abs(values[j]) / full);
      context.fillStyle = marked
        ? color(values[j] < 0 ? "minus" : "plus")
        : color(isSaid ? "ink" : "muted");
      context.fillRect(start, y - high / 2, Math.max(room * part, part > 0.002 ? 1 : 0), high);
      if (bars >= 100) {
        context.font = `500 ${figures}px ${family}`;
        context.textAlign = "right";
        context.fillStyle = color(isSaid || marked ? "ink" : "muted");
        const text = marked ? values[j].toFixed(2).replace("-", "−") : `${(100 * values[j]).toFixed(values[j] < 0.1 ? 1 : 0)} %`;
        context.fillText(text, width, y + 1);
      }
    });
  }

  /** What each layer shows: a, or δ. */
  drawNames(context, { layers, image, L }) {
    context.font = `italic 17px ${getComputedStyle(document.body).getPropertyValue("--font-math")}`;
    context.textAlign = "center";
    context.textBaseline = "top";
    for (let l = 0; l <= L; l++) {
      const isMarked = Boolean(this.marks?.neurons?.[l]);
      context.fillStyle = color(isMarked ? "accent" : "muted");
      const x = l ? layers[l][0].x : image / 2;
      const name = isMarked ? (this.marks.names?.[l] ?? `δ${superscript(l)}`) : `a${superscript(l)}`;
      context.fillText(name, x, 0);
    }
  }

  /** Frames around what a term of an equation stands for. */
  drawFrames(context, { layers, height, image }) {
    context.strokeStyle = color("accent");
    context.lineWidth = 2;
    for (const l of this.marks?.layers ?? []) {
      const of = layers[l];
      const [x0, x1] = l ? [of[0].x - of[0].r - 6, of[0].x + of[0].r + 6] : [-1, image + 1];
      const [y0, y1] = l
        ? [of[0].y - of[0].r - 6, of.at(-1).y + of.at(-1).r + 6]
        : [(height + TOP - image) / 2 - 1, (height + TOP + image) / 2 + 1];
      context.beginPath();
      context.roundRect(x0, y0, x1 - x0, y1 - y0, l ? 12 : 3);
      context.stroke();
    }
  }

  // --- pointing --------------------------------------------------------------------------------

  setPointed(what) {
    const key = (one) => one && `${one.kind} ${one.l} ${one.i} ${one.j}`;
    if (key(what) === key(this.pointed)) return;
    this.pointed = what;
    this.onPoint(what);
    this.surface.redraw();
  }

  point(event) {
    if (!this.places) return;
    const box = this.canvas.getBoundingClientRect();
    this.setPointed(this.at(event.clientX - box.left, event.clientY - box.top));
  }

  /** What is at a place. */
  at(x, y) {
    const { layers } = this.places;
    for (let l = layers.length - 1; l >= 0; l--) {
      for (let j = 0; j < layers[l].length; j++) {
        const place = layers[l][j];
        const inside =
          l === 0
            ? Math.max(Math.abs(x - place.x), Math.abs(y - place.y)) <= place.r
            : Math.hypot(x - place.x, y - place.y) <= place.r + 3;
        if (inside) return { kind: l ? "neuron" : "pixel", l, j, x: place.x, y: place.y };
      }
    }
    let best = null;
    let nearest = NEAR;
    for (const { l, i, j } of this.edges ?? []) {
      const [p, a, b, q] = this.curve(l, i, j);
      if (x < p.x || x > q.x) continue;
      for (let k = 0; k <= 20; k++) {
        const t = k / 20;
        const [u, v, w, s] = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
        const d = Math.hypot(
          u * p.x + v * a.x + w * b.x + s * q.x - x,
          u * p.y + v * a.y + w * b.y + s * q.y - y,
        );
        if (d < nearest) {
          nearest = d;
          best = { kind: "edge", l, i, j, x, y };
        }
      }
    }
    return best;
  }

  /** Arrows move from neuron to neuron; Escape leaves them. */
  key(event) {
    if (!this.places) return;
    const { layers, L } = this.places;
    const from = this.pointed && this.pointed.kind !== "edge" ? this.pointed : null;
    let { l, j } = from ?? { l: L, j: this.answer ?? 0 };
    const isImage = l === 0;
    if (event.key === "Escape") {
      this.setPointed(null);
      return;
    }
    if (event.key === "ArrowUp") j -= from ? (isImage ? SIDE : 1) : 0;
    else if (event.key === "ArrowDown") j += from ? (isImage ? SIDE : 1) : 0;
    else if (event.key === "ArrowLeft" && from) {
      if (isImage) j -= 1;
      else [l, j] = [l - 1, Math.round((j / (layers[l].length - 1)) * (layers[l - 1].length - 1))];
    } else if (event.key === "ArrowRight" && from) {
      if (isImage && j % SIDE < SIDE - 1) j += 1;
      else if (l < L) {
        [l, j] = [l + 1, Math.round((j / (layers[l].length - 1)) * (layers[l + 1].length - 1))];
      }
    } else if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    j = clamp(j, 0, layers[l].length - 1);
    const { x, y } = layers[l][j];
    this.setPointed({ kind: l ? "neuron" : "pixel", l, j, x, y });
  }
}

/** What stands at a pointed place in words and numbers; `numbers` has a, z, and after a step more. */
export function wordsFor(what, network, numbers) {
  const { sizes } = network;
  const L = sizes.length - 1;
  const mark = (l) => superscript(l);
  const { l, i, j } = what;
  if (what.kind === "pixel") {
    return `Pixel ${Math.floor(j / SIDE)}, ${j % SIDE}\na⁰[${j}] = ${number(numbers.a?.[0][j])}`;
  }
  if (what.kind === "neuron") {
    const place = l === L ? `Output ${j}` : `Layer ${l}, neuron ${j}`;
    const f = network.activations[l];
    const lines = [place];
    if (numbers.z) {
      const z = number(numbers.z[l][j]);
      lines.push(`z${mark(l)} = a${mark(l - 1)} W${mark(l)} + b${mark(l)} = ${z}`);
      lines.push(`a${mark(l)} = ${f}(${z}) = ${number(numbers.a[l][j])}`);
    }
    if (numbers.delta) {
      const rule = l === L ? "BP1: " : "BP2: ";
      const formula =
        l === L ? `∂C/∂z${mark(l)}` : `(δ${mark(l + 1)} W${mark(l + 1)}ᵀ) ⊙ σ′(z${mark(l)})`;
      lines.push(`${rule}δ${mark(l)} = ${formula} = ${number(numbers.delta[l][j])}`);
      lines.push(`BP3: ∂C/∂b${mark(l)} = δ${mark(l)} = ${number(numbers.nabla_b[l][j])}`);
    }
    return lines.join("\n");
  }
  const W = number(network.W[l][i][j]);
  const lines = [`W${mark(l)}[${i}, ${j}] = ${W}`];
  if (numbers.nabla_W) {
    const [a, d] = [numbers.before[l - 1][i], numbers.delta[l][j]];
    lines.push(
      `BP4: ∂C/∂W${mark(l)} = a${mark(l - 1)} δ${mark(l)} = ${number(a)} · ${number(d)} = ` +
        number(numbers.nabla_W[l][i][j]),
    );
    lines.push(
      `Step: ${number(numbers.old_W[l][i][j], 5)} − ${number(numbers.rate)} · ` +
        `${number(numbers.nabla_W[l][i][j])} = ${number(numbers.new_W[l][i][j], 5)}`,
    );
  } else if (numbers.a) {
    const a = numbers.a[l - 1][i];
    lines.push(`a${mark(l - 1)} W${mark(l)} = ${number(a)} · ${W} = ${number(a * network.W[l][i][j])}`);
  }
  return lines.join("\n");
}
