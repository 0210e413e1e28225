/** Draw a digit. */

export function mount(root) {
  root.textContent = "";
  return { onMessage() {}, getState: () => ({}), setState() {} };
}
