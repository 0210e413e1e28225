/** The shell of the page: its parts, the address, the theme, the connection. */

import { Connection, Disconnected } from "./connection.js";
import { forgetColors } from "./charts.js";

const PANELS = [
  { name: "draw", title: "Draw a digit", load: () => import("./panels/draw.js") },
  { name: "train", title: "Train and watch", load: () => import("./panels/train.js") },
  { name: "plane", title: "Two dimensions", load: () => import("./panels/plane.js") },
  { name: "data", title: "Your data", load: () => import("./panels/data.js") },
  { name: "equations", title: "The equations", load: () => import("./panels/equations.js") },
];

const byName = new Map(PANELS.map((panel) => [panel.name, panel]));
const main = document.getElementById("main");
const toast = document.getElementById("toast");
const themeListeners = new Set();
let current = null;
let writing = 0;

/** Show a line for a moment, at the bottom of the page. */
function tell(message, stays = false) {
  toast.textContent = message;
  toast.classList.toggle("shown", Boolean(message));
  clearTimeout(tell.timer);
  if (message && !stays) tell.timer = setTimeout(() => tell(""), 2500);
}

// --- the address -----------------------------------------------------------------------------

/** {name, state} of an address, which holds the panel and what is set there. */
function readAddress(address) {
  const [name, query = ""] = new URL(address).hash.slice(1).split("?");
  const panel = byName.has(name) ? name : PANELS[0].name;
  return { name: panel, state: Object.fromEntries(new URLSearchParams(query)) };
}

function addressOf(panel) {
  const state = Object.entries(panel.view?.getState() ?? {});
  const set = state.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(set.map(([key, value]) => [key, String(value)])).toString();
  return `#${panel.name}${query ? `?${query}` : ""}`;
}

/** Write what is set into the address, a little later and at most some times a second. */
function changed(panel) {
  if (panel !== current || writing) return;
  writing = setTimeout(() => {
    writing = 0;
    if (panel === current) history.replaceState(null, "", addressOf(panel));
  }, 200);
}

// --- panels ----------------------------------------------------------------------------------

const connection = new Connection(
  `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`,
  {
    onMessage(name, type, data) {
      const panel = byName.get(name);
      if (type === "error") (panel ? panel.say : tell)(data.message);
      else panel?.view?.onMessage(type, data);
    },
    onOpen() {
      document.body.dataset.connected = "yes";
      tell("");
      for (const panel of PANELS) if (panel.view) open(panel);
    },
    onLost() {
      document.body.dataset.connected = "no";
      tell("Not connected; trying again. What is set here is kept.", true);
    },
  },
);

async function open(panel) {
  if (!connection.isOpen) return;
  try {
    const reply = await connection.request(panel.name, "open", panel.view.getState());
    panel.view.onOpen?.(reply);
    panel.root.dataset.open = "yes";
  } catch (error) {
    if (!(error instanceof Disconnected)) panel.say(error.message);
  }
}

/** What a panel may use. */
function servicesFor(panel) {
  const failed = (error) => {
    if (!(error instanceof Disconnected)) panel.say(error.message);
    throw error;
  };
  return {
    request: (type, data) =>
      connection.request(panel.name, type, data).then((reply) => (panel.say(""), reply), failed),
    send: (type, data) => connection.send(panel.name, type, data),
    upload: (file, onProgress) => connection.upload(panel.name, file, onProgress),
    download: (name) => connection.download(panel.name, name),
    say: (message) => panel.say(message),
    tell,
    changed: () => changed(panel),
    onTheme: (listener) => themeListeners.add(listener),
    /** Go to another part of the page, with what is to be set there. */
    go(name, state) {
      const query = new URLSearchParams(state).toString();
      location.hash = `#${name}${query ? `?${query}` : ""}`;
    },
  };
}

async function mount(panel, state) {
  panel.root = document.createElement("section");
  panel.root.className = `panel panel-${panel.name}`;
  panel.root.setAttribute("aria-label", panel.title);
  panel.message = document.createElement("p");
  panel.message.className = "notice";
  panel.message.setAttribute("role", "alert");
  panel.message.hidden = true;
  panel.say = (message) => {
    panel.message.textContent = message;
    panel.message.hidden = !message;
  };
  main.append(panel.root);
  const module = await panel.load();
  panel.view = module.mount(panel.root, servicesFor(panel));
  panel.root.prepend(panel.message);
  panel.view.setState(state);
  await open(panel);
}

async function show(address) {
  const { name, state } = readAddress(address);
  const panel = byName.get(name);
  const hasState = Object.keys(state).length > 0;
  const wasShown = panel === current;
  current = panel;
  for (const each of PANELS) {
    if (each.root) each.root.hidden = each !== panel;
    each.link.toggleAttribute("data-current", each === panel);
    if (each === panel) each.link.setAttribute("aria-current", "page");
    else each.link.removeAttribute("aria-current");
  }
  document.title = `${panel.title} · chainrule play`;
  if (!panel.root) await mount(panel, state);
  else if (hasState) {
    panel.view?.setState(state);
    if (panel.view) await open(panel);
  }
  panel.link.scrollIntoView({ block: "nearest", inline: "center" });
  if (!wasShown) panel.view?.onShow?.();
  changed(panel);
}

const tabs = document.getElementById("tabs");
for (const panel of PANELS) {
  const item = document.createElement("li");
  panel.link = document.createElement("a");
  panel.link.href = `#${panel.name}`;
  panel.link.textContent = panel.title;
  item.append(panel.link);
  tabs.append(item);
}
// Not location: we may have written there since.
addEventListener("hashchange", (event) => show(event.newURL));

// --- theme, and a link to what is set ----------------------------------------------------------

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function themeChanged() {
  forgetColors();
  for (const listener of themeListeners) listener();
}

prefersDark.addEventListener("change", themeChanged);
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("chainrule-theme", root.dataset.theme);
  } catch {
    // storage may be forbidden; the theme lasts as long as the page
  }
  themeChanged();
});

document.getElementById("share").addEventListener("click", async () => {
  const address = new URL(addressOf(current), location.href).href;
  try {
    await navigator.clipboard.writeText(address);
    tell("Link copied. chainrule play LINK opens it again.");
  } catch {
    history.replaceState(null, "", addressOf(current));
    tell("The link is in the address bar.");
  }
});

show(location.href);
