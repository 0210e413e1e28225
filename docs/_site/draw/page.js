/** "Draw a digit" without a server: the answer comes from the model that chainrule has exported. */

import { forgetColors } from "./charts.js";
import { INK, Pad } from "./ink.js";
import { classes, predictProba } from "./model.mjs";
import { network } from "./network.mjs";
import { NetworkView, wordsFor } from "./network.js";
import { showTip } from "./tip.js";

const find = (selector) => document.querySelector(selector);
const L = network.sizes.length - 1;
let shown = null; // {a, z} by layer

/** z and a of the hidden layers, which the exported model does not give. */
function hidden(x) {
  const [z, a] = [[null], [x]];
  for (let l = 1; l < L; l++) {
    z[l] = weighted(a[l - 1], l);
    a[l] = z[l].map((v) => Math.max(v, 0));
  }
  z[L] = weighted(a[L - 1], L);
  return { z, a };
}

function weighted(a, l) {
  return network.b[l].map((b, j) => a.reduce((sum, v, i) => sum + v * network.W[l][i][j], b));
}

function read() {
  const isEmpty = pad.isEmpty;
  find("#undo").disabled = find("#clear").disabled = isEmpty;
  const image = pad.greys().map((grey) => grey / INK);
  shown = hidden(image);
  shown.a[L] = isEmpty ? classes.map(() => 0) : Array.from(predictProba(image));
  const sure = Math.max(...shown.a[L]);
  const said = isEmpty ? null : classes[shown.a[L].indexOf(sure)];
  if (isEmpty) view.show(shown.a.map((values) => values.map(() => 0)), null, null);
  else view.show(shown.a, image, said);
  const percent = `${(100 * sure).toFixed(0)} %`;
  find("#answer").textContent = said ?? "?";
  find("#sure").textContent = isEmpty ? "\u00a0" : `${percent} sure`;
  clearTimeout(read.timer);
  read.timer = setTimeout(() => {
    find("#said").textContent = isEmpty ? "" : `It reads ${said}, ${percent} sure.`;
  }, 400);
  document.body.dataset.outputs = JSON.stringify(shown.a[L]);
}

/** The theme of the documentation around this page, which may change. */
function followTheme() {
  if (parent === window) return;
  try {
    const outside = parent.document.documentElement;
    const follow = () => {
      document.documentElement.dataset.theme = outside.dataset.theme ?? "";
      forgetColors();
      pad.surface.redraw();
      view.surface.redraw();
    };
    new MutationObserver(follow).observe(outside, { attributeFilter: ["data-theme"] });
    follow();
  } catch {
    // another site shows this page; the system's theme is taken
  }
}

const view = new NetworkView(find("canvas.network"), {
  onPoint: (what) => {
    const text = what && shown ? wordsFor(what, network, shown) : null;
    showTip(text, view.canvas, what?.x, what?.y);
  },
});
view.setNetwork(network);
const pad = new Pad(find("canvas.pad"), () => read());
find("#undo").addEventListener("click", () => pad.undo());
find("#clear").addEventListener("click", () => pad.clear());
globalThis.setPixels = (pixels) => pad.set([], pixels); // for tests
followTheme();
read();
