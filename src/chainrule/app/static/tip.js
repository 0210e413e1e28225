/** The box beside what is pointed at. */

import { element } from "./charts.js";

const tip = element("div", { class: "tip", role: "tooltip", hidden: true });
const said = element("div", { class: "sr", "aria-live": "polite" });

/** Show lines beside a point of an element; null takes them away. */
export function showTip(text, owner, x = 0, y = 0) {
  if (!tip.isConnected) document.body.append(tip, said);
  tip.hidden = !text;
  said.textContent = text && owner.matches(":focus") ? text : "";
  if (!text) return;
  tip.textContent = text;
  const box = owner.getBoundingClientRect();
  const [px, py] = [box.left + x, box.top + y];
  const { width, height } = tip.getBoundingClientRect();
  const left = px + 18 + width > innerWidth ? px - 18 - width : px + 18;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, Math.min(py + 12, innerHeight - height - 8))}px`;
}
