/** The equations. */

export function mount(root) {
  root.textContent = "";
  return { onMessage() {}, getState: () => ({}), setState() {} };
}
