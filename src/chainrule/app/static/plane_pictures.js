/** What the panel "Two dimensions" draws: the plane with its points, and the network of pictures. */

import { clamp, color, number, rgb, superscript, surface } from "./charts.js";

const GAP = 10; // pixels between the pictures of a layer
const HEAD = 22; // pixels above them, for the names of the layers
const NEAR = 7; // pixels from which a connection is pointed at

/** An image of whole numbers from -100 to 100: plus is blue, minus orange. */
function imageOf(values) {
  const side = Math.round(Math.sqrt(values.length));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  const [ground, plus, minus] = [rgb("field"), rgb("plus"), rgb("minus")];
  values.forEach((value, i) => {
    const [end, t] = [value < 0 ? minus : plus, Math.abs(value) / 100];
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = ground[c] + (end[c] - ground[c]) * t;
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The plane: what the network says everywhere, and the points. */
export class PlaneView {
  /** `onPlace(x, y, isOther)` when a place is chosen, with the pointer or the keyboard. */
  constructor(canvas, { onPlace }) {
    this.canvas = canvas;
    this.onPlace = onPlace;
    this.points = { x: [], y: [], value: [], held: [] };
    this.side = 3;
    this.cursor = null;
    this.values = null;
    this.surface = surface(canvas, (...given) => this.draw(...given));
    canvas.addEventListener("pointerdown", (event) => this.pointed(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => {
      if (canvas.matches(":focus-visible")) this.cursor ??= [0, 0];
      this.surface.redraw();
    });
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.surface.redraw();
    });
  }

  show(values) {
    this.values = values;
    this.surface.redraw();
  }

  setPoints(points, side) {
    this.points = points;
    this.side = side;
    this.surface.redraw();
  }

  pointed(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (2 * (event.clientX - box.left)) / box.width - 1;
    const y = 1 - (2 * (event.clientY - box.top)) / box.height;
    this.onPlace(x * this.side, y * this.side, event.button === 2 || event.shiftKey);
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (moves[event.key]) {
      const step = (event.shiftKey ? 0.2 : 0.05) * this.side;
      const [x, y] = this.cursor ?? [0, 0];
      const [dx, dy] = moves[event.key];
      this.cursor = [x + dx * step, y + dy * step].map((v) => clamp(v, -this.side, this.side));
    } else if (event.key === " " || event.key === "Enter") {
      this.onPlace(...(this.cursor ?? [0, 0]), event.shiftKey);
    } else {
      return;
    }
    event.preventDefault();
    this.surface.redraw();
  }

  draw(context, width, height) {
    context.fillStyle = color("field");
    context.fillRect(0, 0, width, height);
    if (this.values) {
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      context.globalAlpha = 0.7; // so that the points stand out
      context.drawImage(imageOf(this.values), 0, 0, width, height);
      context.globalAlpha = 1;
      this.boundary(context, width, height);
    }
    const { x, y, value, held } = this.points;
    const px = (v) => ((v / this.side + 1) / 2) * width;
    const py = (v) => ((1 - v / this.side) / 2) * height;
    const radius = clamp(width / 85, 3.5, 7);
    for (let i = 0; i < x.length; i++) {
      const size = radius * (Math.abs(value[i]) < 1 ? 0.6 + 0.4 * Math.abs(value[i]) : 1);
      context.beginPath();
      if (value[i] >= 0) {
        context.arc(px(x[i]), py(y[i]), size, 0, 2 * Math.PI);
      } else {
        // another shape, so that no colour is needed to tell the classes apart
        context.moveTo(px(x[i]), py(y[i]) - 1.25 * size);
        context.lineTo(px(x[i]) + 1.25 * size, py(y[i]));
        context.lineTo(px(x[i]), py(y[i]) + 1.25 * size);
        context.lineTo(px(x[i]) - 1.25 * size, py(y[i]));
        context.closePath();
      }
      context.fillStyle = held[i] ? color("card") : color(value[i] >= 0 ? "plus" : "minus");
      context.strokeStyle = held[i] ? color(value[i] >= 0 ? "plus" : "minus") : color("card");
      context.lineWidth = held[i] ? 2 : 1.25;
      context.fill();
      context.stroke();
    }
    if (this.cursor) {
      const [cx, cy] = [px(this.cursor[0]), py(this.cursor[1])];
      context.strokeStyle = color("ink");
      context.lineWidth = 2;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(cx + 4 * dx, cy + 4 * dy);
        context.lineTo(cx + 12 * dx, cy + 12 * dy);
      }
      context.stroke();
    }
  }

  /** A line where the output changes its sign. */
  boundary(context, width, height) {
    const n = Math.round(Math.sqrt(this.values.length));
    const at = (r, c) => this.values[r * n + c];
    const [w, h] = [width / n, height / n];
    context.strokeStyle = color("ink", 0.75);
    context.lineWidth = 1.5;
    context.beginPath();
    for (let r = 0; r < n - 1; r++) {
      for (let c = 0; c < n - 1; c++) {
        const corners = [at(r, c), at(r, c + 1), at(r + 1, c + 1), at(r + 1, c)];
        const places = [[c, r], [c + 1, r], [c + 1, r + 1], [c, r + 1]];
        const cuts = [];
        for (let k = 0; k < 4; k++) {
          const [a, b] = [corners[k], corners[(k + 1) % 4]];
          if (a > 0 === b > 0) continue;
          const t = a / (a - b);
          const [p, q] = [places[k], places[(k + 1) % 4]];
          cuts.push([p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])]);
        }
        for (let k = 0; k + 1 < cuts.length; k += 2) {
          context.moveTo((cuts[k][0] + 0.5) * w, (cuts[k][1] + 0.5) * h);
          context.lineTo((cuts[k + 1][0] + 0.5) * w, (cuts[k + 1][1] + 0.5) * h);
        }
      }
    }
    context.stroke();
  }
}

/** The network: a picture of the plane for each unit, and the weights between them. */
export class UnitsView {
  /** `onPoint(what)` gets {kind: "unit" | "edge", l, i, j, x, y}, or null. */
  constructor(canvas, { onPoint }) {
    this.canvas = canvas;
    this.onPoint = onPoint;
    this.layers = [];
    this.weights = [];
    this.pointed = null;
    this.surface = surface(canvas, (...given) => this.draw(...given));
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerdown", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.setPointed(null));
    canvas.addEventListener("blur", () => this.setPointed(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** `layers`: of each hidden layer its units' pictures; `output`: the picture of the output. */
  show({ layers, weights, biases, output }) {
    Object.assign(this, { layers, weights, biases, output });
    this.surface.redraw();
  }

  /** All columns of pictures: x and y, the hidden layers, the output. */
  columns() {
    const n = 16;
    const inputs = [0, 1].map((axis) =>
      Array.from({ length: n * n }, (_, k) => {
        const place = axis ? n - 1 - Math.floor(k / n) : k % n;
        return Math.round(100 * ((2 * (place + 0.5)) / n - 1));
      }),
    );
    return [inputs, ...this.layers, ...(this.output ? [[this.output]] : [])];
  }

  places(width, height) {
    const columns = this.columns();
    const most = Math.max(2, ...columns.map((units) => units.length));
    const room = height - HEAD;
    const size = clamp(Math.min(room / most - GAP, width / (2 * columns.length)), 14, 46);
    return columns.map((units, l) =>
      units.map((values, j) => ({
        x: size / 2 + 1 + (l * (width - size - 2)) / Math.max(1, columns.length - 1),
        y: HEAD + room / 2 + (j - (units.length - 1) / 2) * Math.min(size + GAP, room / units.length),
        size,
        values,
      })),
    );
  }

  draw(context, width, height) {
    const places = (this.drawn = this.places(width, height));
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = color("muted");
    context.textBaseline = "top";
    places.forEach((units, l) => {
      context.textAlign = l === 0 ? "left" : l === places.length - 1 ? "right" : "center";
      const x = l === 0 ? 0 : l === places.length - 1 ? width : units[0].x;
      const name = l === 0 ? "x, y" : l === places.length - 1 ? "output" : `a${superscript(l)}`;
      context.fillText(name, x, 0);
    });
    this.weights.forEach((W, l) => {
      const largest = Math.max(1e-9, ...W.flat().map(Math.abs));
      W.forEach((row, i) =>
        row.forEach((w, j) => {
          const [from, to] = [places[l]?.[i], places[l + 1]?.[j]];
          if (!from || !to) return;
          const is = this.isPointed("edge", l, i, j) || this.isPointed("unit", l + 1, j);
          context.strokeStyle = color(w < 0 ? "minus" : "plus", is ? 1 : 0.25 + (0.6 * Math.abs(w)) / largest);
          context.lineWidth = 0.5 + (4 * Math.abs(w)) / largest + (is ? 1.5 : 0);
          context.setLineDash(w < 0 ? [6, 3] : []);
          this.curve(context, from, to);
          context.stroke();
        }),
      );
    });
    context.setLineDash([]);
    context.imageSmoothingEnabled = false;
    places.forEach((units, l) =>
      units.forEach(({ x, y, size, values }, j) => {
        context.drawImage(imageOf(values), x - size / 2, y - size / 2, size, size);
        const is = this.isPointed("unit", l, j);
        context.strokeStyle = color(is ? "ink" : "strong-line");
        context.lineWidth = is ? 3 : 1;
        context.strokeRect(x - size / 2, y - size / 2, size, size);
      }),
    );
  }

  curve(context, from, to) {
    const [x0, x1] = [from.x + from.size / 2, to.x - to.size / 2];
    context.beginPath();
    context.moveTo(x0, from.y);
    context.bezierCurveTo((x0 + x1) / 2, from.y, (x0 + x1) / 2, to.y, x1, to.y);
  }

  isPointed(kind, l, i, j) {
    const one = this.pointed;
    return one?.kind === kind && one.l === l && (kind === "unit" ? one.j === i : one.i === i && one.j === j);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    for (const [l, units] of (this.drawn ?? []).entries()) {
      for (const [j, unit] of units.entries()) {
        if (Math.max(Math.abs(unit.x - x), Math.abs(unit.y - y)) <= unit.size / 2) {
          this.setPointed({ kind: "unit", l, j, x, y });
          return;
        }
      }
    }
    this.setPointed(this.nearestEdge(x, y));
  }

  nearestEdge(x, y) {
    let best = null;
    let least = NEAR;
    this.weights.forEach((W, l) =>
      W.forEach((row, i) =>
        row.forEach((_, j) => {
          const [from, to] = [this.drawn?.[l]?.[i], this.drawn?.[l + 1]?.[j]];
          if (!from || !to) return;
          const [x0, x1] = [from.x + from.size / 2, to.x - to.size / 2];
          if (x < x0 || x > x1) return;
          // the curve's x is a cubic of t: near enough found by halving
          let [low, high] = [0, 1];
          for (let k = 0; k < 20; k++) {
            const t = (low + high) / 2;
            const at = x0 + (x1 - x0) * (1.5 * t * (1 - t) + t ** 3);
            if (at < x) low = t;
            else high = t;
          }
          const t = (low + high) / 2;
          const cy = from.y + (to.y - from.y) * (3 * t * t - 2 * t ** 3);
          if (Math.abs(cy - y) < least) {
            least = Math.abs(cy - y);
            best = { kind: "edge", l, i, j, x, y };
          }
        }),
      ),
    );
    return best;
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!moves[event.key] || !this.drawn) return;
    event.preventDefault();
    const [dl, dj] = moves[event.key];
    const old = this.pointed ?? { l: 1 - dl, j: -dj };
    const l = clamp(old.l + dl, 0, this.drawn.length - 1);
    const j = clamp((old.j ?? 0) + dj, 0, this.drawn[l].length - 1);
    const { x, y } = this.drawn[l][j];
    this.setPointed({ kind: "unit", l, j, x, y });
  }

  setPointed(what) {
    if (String(Object.values(what ?? {})) === String(Object.values(this.pointed ?? {}))) return;
    this.pointed = what;
    this.onPoint(what);
    this.surface.redraw();
  }

  /** What is pointed at, in words. */
  words(what) {
    const name = (l, j) =>
      l === 0 ? "xy"[j] : l === this.drawn.length - 1 ? "the output" : `unit ${j + 1} of layer ${l}`;
    if (what.kind === "edge") {
      const w = this.weights[what.l][what.i][what.j];
      return `From ${name(what.l, what.i)} to ${name(what.l + 1, what.j)}\nw = ${number(w)}`;
    }
    if (what.l === 0) return `${"xy"[what.j]}: one of the two inputs`;
    const W = this.weights[what.l - 1] ?? [];
    const b = this.biases?.[what.l - 1]?.[what.j];
    const terms = W.map((row, i) => `${number(row[what.j])} · ${what.l === 1 ? "xy"[i] : `a${i + 1}`}`);
    return `${name(what.l, what.j)}\nz = ${terms.join(" + ")} + ${number(b)}`.replaceAll("+ −", "− ");
  }
}
