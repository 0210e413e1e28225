// Before anything is painted: the theme that the visitor has chosen, else the system's.
try {
  const chosen = localStorage.getItem("chainrule-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage may be forbidden; the system's theme is shown
}
