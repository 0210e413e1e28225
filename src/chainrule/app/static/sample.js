/** The image that "Draw a digit" and "The equations" both show. */

import { greysOf, readGreys, readStrokes, writeGreys, writeStrokes } from "./ink.js";

export const sample = {
  strokes: [],
  pixels: null, // 64 greys, where the image has not been drawn by strokes
  greys: new Array(64).fill(0), // what the network gets
  label: null, // the right answer, if it is known
};

/** What an address says of the image. */
export function sampleState() {
  const { strokes, pixels, label } = sample;
  return {
    strokes: !pixels && strokes.length ? writeStrokes(strokes) : null,
    pixels: pixels ? writeGreys(pixels) : null,
    label,
  };
}

/** The image that an address describes: {strokes, pixels, label, greys}; greys is null for none. */
export function readSample(state) {
  const strokes = readStrokes(state.strokes ?? "");
  const pixels = readGreys(state.pixels ?? "");
  return {
    strokes,
    pixels,
    greys: pixels ?? (strokes.length ? greysOf(strokes) : null),
    label: /^[0-9]$/.test(state.label ?? "") ? Number(state.label) : null,
  };
}
