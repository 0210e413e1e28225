/** What is drawn: the strokes of a pen, and the 8 × 8 greys that a network takes for them. */

import { clamp, color, surface } from "./charts.js";

export const SIDE = 8; // pixels of an image, across and down
export const INK = 16; // the darkest grey
const FINE = 4; // cells of a pixel, across and down, as in the original bitmaps of 32 × 32
const CELLS = SIDE * FINE;
const MASS = 313; // what the greys of a training digit add up to, on average
const PEN = [3, 11]; // the narrowest and the widest pen, in cells
const WIDEST = 27; // cells: training digits fill the height, and six to seven columns
const SMALLEST = 0.35; // of the pad: what is smaller, such as the start of a stroke, is not enlarged
const PLACES = 675; // across and down, between which a point can lie: two letters in an address
const STEP = 0.008; // of the pad, between two points that are kept

/** Distance of a point from the line between two others. */
function distanceFrom(x, y, [x1, y1], [x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const length = dx * dx + dy * dy;
  const t = length ? clamp(((x - x1) * dx + (y - y1) * dy) / length) : 0;
  return Math.hypot(x - x1 - t * dx, y - y1 - t * dy);
}

/**
 * The 64 greys of strokes, placed as the training digits are: they fill the height, the pen is as
 * wide as makes their ink add up to that of a training digit, and the ink's centre is in the
 * middle. `strokes` are lists of points [x, y] from 0 to 1.
 */
export function greysOf(strokes) {
  const points = strokes.flat();
  if (!points.length) return new Array(SIDE * SIDE).fill(0);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  let pen = 5;
  let covered = [];
  for (let round = 0; round < 3; round++) {
    const tall = Math.max(bottom - top, SMALLEST);
    const scaleY = (CELLS - pen) / tall;
    const scaleX = Math.min(scaleY, (WIDEST - pen) / Math.max(right - left, 1e-9));
    const placed = strokes.map((stroke) =>
      stroke.map(([x, y]) => [
        (x - (left + right) / 2) * scaleX + CELLS / 2,
        (y - (top + bottom) / 2) * scaleY + CELLS / 2,
      ]),
    );
    const distances = distancesFrom(placed);
    if (round < 2) pen = penFor(distances);
    covered = covering(distances, pen);
  }
  return greys(centred(covered));
}

/** How far each of the 32 × 32 cells is from the strokes. */
function distancesFrom(strokes) {
  const found = new Float64Array(CELLS * CELLS).fill(Infinity);
  for (const stroke of strokes) {
    for (let k = 0; k < Math.max(stroke.length - 1, 1); k++) {
      const [from, to] = [stroke[k], stroke[Math.min(k + 1, stroke.length - 1)]];
      const low = ([a, b]) => Math.max(Math.floor(Math.min(a, b) - PEN[1]), 0);
      const high = ([a, b]) => Math.min(Math.ceil(Math.max(a, b) + PEN[1]), CELLS);
      const across = [from[0], to[0]];
      const down = [from[1], to[1]];
      for (let i = low(down); i < high(down); i++) {
        for (let j = low(across); j < high(across); j++) {
          const d = distanceFrom(j + 0.5, i + 0.5, from, to);
          if (d < found[i * CELLS + j]) found[i * CELLS + j] = d;
        }
      }
    }
  }
  return found;
}

/** How much of each cell a pen of a width covers. */
function covering(distances, pen) {
  return Array.from(distances, (d) => clamp(pen / 2 - d + 0.5));
}

/** The width of the pen with which the ink adds up to that of a training digit. */
function penFor(distances) {
  let [low, high] = PEN;
  for (let k = 0; k < 8; k++) {
    const pen = (low + high) / 2;
    const mass = covering(distances, pen).reduce((sum, c) => sum + c, 0);
    if (mass < MASS) low = pen;
    else high = pen;
  }
  return (low + high) / 2;
}

/** Cells moved sideways by a whole number of cells, so that the ink's centre is in the middle. */
function centred(cells) {
  let [mass, moment] = [0, 0];
  cells.forEach((c, k) => {
    mass += c;
    moment += c * ((k % CELLS) + 0.5);
  });
  const shift = Math.round(CELLS / 2 - moment / Math.max(mass, 1e-9));
  return cells.map((_, k) => {
    const j = (k % CELLS) - shift;
    return j >= 0 && j < CELLS ? cells[k - shift] : 0;
  });
}

/** Pixels of 4 × 4 cells each, in whole greys. */
function greys(cells) {
  const sums = new Array(SIDE * SIDE).fill(0);
  cells.forEach((c, k) => {
    const [i, j] = [Math.floor(k / CELLS), k % CELLS];
    sums[Math.floor(i / FINE) * SIDE + Math.floor(j / FINE)] += c;
  });
  return sums.map((sum) => Math.round(clamp(sum, 0, INK)));
}

// --- in an address -----------------------------------------------------------------------------

/** Strokes as text: two letters from a to z across and two down for each point. */
export function writeStrokes(strokes) {
  const code = (x) => {
    const k = Math.round(clamp(x) * PLACES);
    return String.fromCharCode(97 + Math.floor(k / 26), 97 + (k % 26));
  };
  return strokes.map((stroke) => stroke.map(([x, y]) => code(x) + code(y)).join("")).join(".");
}

/** The strokes of such a text; none of what is no such text. */
export function readStrokes(text) {
  if (!/^([a-z]{4})+(\.([a-z]{4})+)*$/.test(text) || text.length > 20_000) return [];
  const value = (two) => ((two.charCodeAt(0) - 97) * 26 + two.charCodeAt(1) - 97) / PLACES;
  return text
    .split(".")
    .map((stroke) =>
      stroke.match(/..../g).map((four) => [value(four.slice(0, 2)), value(four.slice(2))]),
    );
}

/** 64 greys as text, a letter from a (paper) to q (ink) each. */
export const writeGreys = (pixels) =>
  pixels.map((grey) => String.fromCharCode(97 + grey)).join("");

/** The greys of such a text, or null. */
export const readGreys = (text) =>
  /^[a-q]{64}$/.test(text) ? Array.from(text, (c) => c.charCodeAt(0) - 97) : null;

// --- the pad -----------------------------------------------------------------------------------

/** A hand that writes a 3, for those who have not drawn yet. */
const HINT = [
  [0.3, 0.24], [0.36, 0.18], [0.45, 0.14], [0.55, 0.14], [0.64, 0.19], [0.68, 0.28], [0.64, 0.38],
  [0.56, 0.45], [0.46, 0.48], [0.58, 0.5], [0.67, 0.57], [0.71, 0.67], [0.68, 0.77], [0.59, 0.85],
  [0.48, 0.87], [0.37, 0.84], [0.29, 0.77],
].flatMap(([x, y], k, all) => {
  const [u, v] = all[Math.min(k + 1, all.length - 1)];
  return [0, 1, 2, 3, 4, 5].map((i) => [x + ((u - x) * i) / 6, y + ((v - y) * i) / 6]);
});

/**
 * A pad for mouse, touch, pen and keys. It has either strokes or pixels, which a test digit, or
 * the keyboard, gives. `onChange()` is called when either changes.
 */
export class Pad {
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.strokes = [];
    this.pixels = null;
    this.cursor = null; // of the keyboard: the number of a pixel
    this.isDrawing = false;
    this.hint = 0;
    this.surface = surface(canvas, (...given) => this.draw(...given));
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.up(event));
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.surface.redraw());
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.surface.redraw();
    });
    this.hintRuns = false;
    this.runHint();
  }

  get isEmpty() {
    return !this.strokes.length && !this.pixels;
  }

  /** The 64 greys of what is on the pad. */
  greys() {
    return this.pixels ?? greysOf(this.strokes);
  }

  set(strokes, pixels) {
    this.strokes = strokes;
    this.pixels = pixels;
    this.changed();
  }

  clear() {
    this.set([], null);
  }

  undo() {
    if (this.pixels) this.set(this.strokes, null);
    else this.set(this.strokes.slice(0, -1), null);
  }

  changed() {
    this.surface.redraw();
    this.runHint();
    this.onChange();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(
      (x) => Math.round(clamp(x) * PLACES) / PLACES,
    );
  }

  down(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.cursor = null;
    if (this.pixels) this.strokes = [];
    this.pixels = null;
    this.isDrawing = true;
    this.strokes.push([this.place(event)]);
    this.changed();
  }

  move(event) {
    if (!this.isDrawing) return;
    const stroke = this.strokes.at(-1);
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const [x, y] = this.place(each);
      const [x0, y0] = stroke.at(-1);
      if (Math.hypot(x - x0, y - y0) >= STEP) stroke.push([x, y]);
    }
    this.changed();
  }

  up() {
    this.isDrawing = false;
  }

  /** Arrows move over the pixels; space or a grey's key inks one. */
  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -SIDE, ArrowDown: SIDE };
    if (event.key in steps) {
      const from = this.cursor ?? 27;
      const to = from + steps[event.key];
      const sideways = Math.abs(steps[event.key]) === 1;
      const leaves = sideways && Math.floor(to / SIDE) !== Math.floor(from / SIDE);
      if (this.cursor === null) this.cursor = from;
      else if (to >= 0 && to < SIDE * SIDE && !leaves) this.cursor = to;
      if (event.shiftKey) this.ink(INK);
    } else if (event.key === " " || event.key === "Enter") {
      this.cursor ??= 27;
      this.ink(this.greys()[this.cursor] > INK / 2 ? 0 : INK);
    } else if (event.key === "Backspace") this.undo();
    else if (event.key === "Delete") this.clear();
    else return;
    event.preventDefault();
    this.surface.redraw();
  }

  ink(grey) {
    const pixels = [...this.greys()];
    pixels[this.cursor] = grey;
    this.set([], pixels);
  }

  /** Show the hint until the pad is used. */
  runHint() {
    if (!this.isEmpty || this.hintRuns) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now();
    this.hint = 1;
    this.hintRuns = !still;
    const frame = (now) => {
      if (!this.isEmpty) {
        this.hintRuns = false;
        return;
      }
      this.hint = Math.min(((now - start) % 3200) / 1700, 1);
      this.surface.redraw();
      requestAnimationFrame(frame);
    };
    if (!still) requestAnimationFrame(frame);
  }

  draw(context, width) {
    const size = width / SIDE;
    context.fillStyle = color("pad");
    context.fillRect(0, 0, width, width);
    if (this.pixels) {
      this.pixels.forEach((grey, k) => {
        context.fillStyle = color("ink", grey / INK);
        context.fillRect((k % SIDE) * size, Math.floor(k / SIDE) * size, size + 0.5, size + 0.5);
      });
    }
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = width * 0.07;
    context.strokeStyle = color("ink");
    if (!this.pixels) for (const stroke of this.strokes) drawLine(context, stroke, width);
    if (this.isEmpty) {
      context.strokeStyle = color("line");
      const count = Math.max(1, Math.ceil(Math.min(this.hint, 1) * HINT.length));
      drawLine(context, HINT.slice(0, count), width);
      const [x, y] = HINT[count - 1];
      context.fillStyle = color("accent");
      context.beginPath();
      context.arc(x * width, y * width, width * 0.03, 0, 7);
      context.fill();
    }
    if (this.cursor !== null) {
      const [x, y] = [(this.cursor % SIDE) * size, Math.floor(this.cursor / SIDE) * size];
      context.lineWidth = 3;
      context.strokeStyle = color("accent");
      context.strokeRect(x + 1.5, y + 1.5, size - 3, size - 3);
    }
  }
}

/** A smooth line through points from 0 to 1. */
function drawLine(context, points, width) {
  const at = points.map(([x, y]) => [x * width, y * width]);
  context.beginPath();
  context.moveTo(...at[0]);
  for (let k = 1; k < at.length - 1; k++) {
    const [x, y] = at[k];
    context.quadraticCurveTo(x, y, (x + at[k + 1][0]) / 2, (y + at[k + 1][1]) / 2);
  }
  context.lineTo(...at.at(-1));
  context.stroke();
}
