/** What several panels draw with: colours of the theme, canvases, charts. */

// --- colours ---------------------------------------------------------------------------------

const colors = new Map();
const probe = document.createElement("span");
probe.hidden = true;

/** [r, g, b] of a colour of style.css by its name, such as "ink", in the theme that is shown. */
export function rgb(name) {
  if (!colors.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    colors.set(name, getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number));
  }
  return colors.get(name);
}

/** The same as CSS has it, with an opacity. */
export function color(name, alpha = 1) {
  const [r, g, b] = rgb(name);
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

/** Look the colours up again: the theme has changed. */
export function forgetColors() {
  colors.clear();
}

export const clamp = (x, low = 0, high = 1) => Math.min(Math.max(x, low), high);

/** A colour between two of the theme; t from 0 to 1. */
export function mix(from, to, t) {
  const [a, b] = [rgb(from), rgb(to)];
  return `rgb(${a.map((x, i) => Math.round(x + (b[i] - x) * clamp(t))).join(" ")})`;
}

/** Of the largest; a negative value beyond it is marked by a bar, too. */
export const MARKED = 0.15;

/** Of a signed value in -1 … 1: plus is blue, minus orange, zero the ground. */
export function signed(value) {
  return mix("field", value < 0 ? "minus" : "plus", Math.abs(value));
}

// --- numbers ---------------------------------------------------------------------------------

/** A number in a few figures, with a true minus sign. */
export function number(x, digits = 3) {
  if (x === null || x === undefined || !Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text =
    size >= 1e5 || size < 1e-4 ? x.toExponential(digits - 1) : String(+x.toPrecision(digits));
  return text.replaceAll("-", "−");
}

/** A number as a superscript. */
export function superscript(n) {
  return String(n).replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
}

// --- canvases --------------------------------------------------------------------------------

/**
 * Keep a canvas as sharp as the screen; `draw(context, width, height)` in CSS pixels.
 * Returns {redraw()}, which draws once in the next frame however often it is called.
 */
export function surface(canvas, draw) {
  let asked = false;
  const paint = () => {
    asked = false;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    draw(context, width, height);
  };
  const redraw = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(paint);
  };
  new ResizeObserver(redraw).observe(canvas);
  return { redraw };
}

/** Make an element: `element("p", {class: "x", text: "…"}, child, …)`. */
export function element(name, attributes = {}, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "text") found.textContent = value;
    else if (key.startsWith("on")) found.addEventListener(key.slice(2), value);
    else found.setAttribute(key, value === true ? "" : value);
  }
  found.append(...children.filter((child) => child !== null && child !== undefined));
  return found;
}

// --- charts ----------------------------------------------------------------------------------

/**
 * Draw values (row by row) as an image of cells that fills the canvas.
 * `range` is the value of full colour; `isSigned` gives both signs a colour of their own.
 */
export function heatMap(context, values, columns, { x = 0, y = 0, width, height, range, isSigned }) {
  const rows = Math.ceil(values.length / columns);
  const full = range ?? Math.max(1e-12, ...values.map(Math.abs));
  const [w, h] = [width / columns, height / rows];
  const dots = devicePixelRatio || 1;
  const snap = (at) => Math.round(at * dots) / dots; // so that no seams are seen
  for (let i = 0; i < values.length; i++) {
    const value = values[i] / full;
    context.fillStyle = isSigned ? signed(value) : mix("field", "ink", value);
    const [i0, j0] = [Math.floor(i / columns), i % columns];
    const [left, right] = [snap(x + j0 * w), snap(x + (j0 + 1) * w)];
    const [top, bottom] = [snap(y + i0 * h), snap(y + (i0 + 1) * h)];
    context.fillRect(left, top, right - left, bottom - top);
    // Colours of middling strength look alike in grey; a bar says minus without any colour.
    if (isSigned && value < -MARKED && Math.min(w, h) >= 8) {
      context.fillStyle = color("card");
      context.fillRect(left + w * 0.3, bottom - h * 0.22, w * 0.4, Math.max(1, h * 0.08));
    }
  }
}

/** Round values from low to high that an axis shows, at most about `most`. */
export function ticks(low, high, most = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) {
    found.push(+(k * step).toPrecision(12));
  }
  return found;
}

/**
 * Lines over a common x. `series`: [{name, points: [[x, y], …], color: "plus", dash: [4, 3]}];
 * `yRange` and `xRange` are [low, high], and found from the points unless given. Each line ends
 * with its name, so that no legend and no colour is needed to tell them apart.
 */
export function lineChart(context, width, height, { series, xRange, yRange, xLabel, yLabel }) {
  const all = series.flatMap((each) => each.points).filter(([, y]) => Number.isFinite(y));
  const [left, right, top, bottom] = [44, 64, 12, 34];
  const span = (values, given) => {
    if (given) return given;
    if (!values.length) return [0, 1];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  };
  const [x0, x1] = span(all.map(([x]) => x), xRange);
  const [y0, y1] = span(all.map(([, y]) => y), yRange);
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - top - bottom);
  context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  context.lineWidth = 1;
  context.fillStyle = color("muted");
  context.strokeStyle = color("line");
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const y of ticks(y0, y1, Math.max(2, height / 60))) {
    context.beginPath();
    context.moveTo(left, py(y));
    context.lineTo(width - right, py(y));
    context.stroke();
    context.fillText(number(y), left - 6, py(y));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const x of ticks(x0, x1, Math.max(2, width / 120))) {
    context.fillText(number(x), px(x), height - bottom + 6);
  }
  if (xLabel) {
    context.textAlign = "right";
    context.fillText(xLabel, width - right, height - bottom + 20);
  }
  if (yLabel) {
    context.textAlign = "left";
    context.fillText(yLabel, 2, 0);
  }
  context.textAlign = "left";
  context.textBaseline = "middle";
  const used = [];
  const names = [];
  // The highest first, so that the names at the ends of the lines stand in their order.
  const end = ({ points }) => points.findLast(([, y]) => Number.isFinite(y))?.[1] ?? 0;
  const ordered = series.toSorted((a, b) => end(b) - end(a));
  for (const { name, points, color: colored = "ink", dash = [] } of ordered) {
    context.strokeStyle = context.fillStyle = color(colored);
    context.lineWidth = 2;
    context.setLineDash(dash);
    context.beginPath();
    let isDown = false;
    let last = null;
    for (const [x, y] of points) {
      if (!Number.isFinite(y)) {
        isDown = false;
        continue;
      }
      const at = [px(x), clamp(py(y), top, height - bottom)];
      if (isDown) context.lineTo(...at);
      else context.moveTo(...at);
      isDown = true;
      last = at;
    }
    context.stroke();
    context.setLineDash([]);
    if (!last) continue;
    context.beginPath();
    context.arc(last[0], last[1], 3, 0, 2 * Math.PI);
    context.fill();
    let y = last[1];
    while (used.some((each) => Math.abs(each - y) < 13)) y += 13;
    used.push(y);
    names.push([name, colored, last[0] + 6, y]);
  }
  for (const [name, colored, x, y] of names) {
    // A line that goes on beside it must not run through a name.
    context.strokeStyle = color("card");
    context.fillStyle = color(colored);
    context.lineWidth = 5;
    context.lineJoin = "round";
    context.strokeText(name, x, y);
    context.fillText(name, x, y);
  }
}
