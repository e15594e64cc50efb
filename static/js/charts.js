// Figures: fetch the JSON, resolve its colours, draw, keep fresh, and say so when that fails.
import { fillTable } from "./chart-table.js";

const VISIBLE_S = 30, HIDDEN_S = 60, SLOW_MS = 5000, GIVE_UP_MS = 20_000, NARROW_PX = 600;
const CONFIG = {
  displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: true,
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
};
const BULK = new Set(["x", "y", "z", "text", "hovertext", "customdata", "bdata"]);
const root = document.documentElement;
const states = new Map();

// Colours: the browser works out what a token is in the theme that holds now.

const probe = document.createElement("i");
const ink = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
let colours = new Map();

function colour(written) {
  if (!colours.has(written)) {
    const [name, alpha = "1"] = written.slice(6).split("/");
    probe.style.color = `var(--${name})`;
    ink.clearRect(0, 0, 1, 1);
    ink.fillStyle = getComputedStyle(probe).color;
    ink.fillRect(0, 0, 1, 1);
    colours.set(written, `rgba(${[...ink.getImageData(0, 0, 1, 1).data].slice(0, 3).join(",")},${alpha})`);
  }
  return colours.get(written);
}

function resolved(part) {
  if (typeof part === "string") return part.startsWith("token:") ? colour(part) : part;
  if (Array.isArray(part)) return part.map(resolved);
  if (part === null || typeof part !== "object") return part;
  return Object.fromEntries(Object.entries(part).map(
    ([key, value]) => [key, BULK.has(key) ? structuredClone(value) : resolved(value)]));
}

// Narrow screens: labels and headings make do with less, and the figure's own changes apply.

function fitted(figure, narrow) {
  const layout = resolved(figure.layout);
  if (!narrow) return layout;
  if (layout.margin) Object.assign(layout.margin, { l: Math.min(layout.margin.l, 54), r: Math.min(layout.margin.r, 88) });
  if (layout.hoversubplots) layout.hoversubplots = "single";
  for (const [path, value] of Object.entries(figure.compact ?? {})) {
    const keys = path.split("."), last = keys.pop();
    keys.reduce((at, key) => (at[key] ??= {}), layout)[last] = resolved(value);
  }
  if (layout.xaxis?.type === "date") layout.xaxis.nticks = 4;
  for (const note of layout.annotations ?? []) {
    if (note.name === "edge" || note.name === "heading") note.font.size = 11;
    if (note.name === "edge") note.xshift = 4;
    if (note.name === "heading") note.xshift = 4 - layout.margin.l;
  }
  return layout;
}

function draw(state) {
  const { plot, figure } = state;
  if (!figure) return;
  if (figure.empty) {
    if (plot.data) window.Plotly.purge(plot);
    plot.replaceChildren(paragraph("figure-empty", figure.empty));
    return;
  }
  if (!plot.data) plot.replaceChildren();
  state.narrow = plot.clientWidth < NARROW_PX;
  const layout = fitted(figure, state.narrow);
  if (layout.height) plot.style.height = `${layout.height}px`;
  window.Plotly.react(plot, resolved(figure.data), layout, CONFIG);
  if (!state.clicks) {
    state.clicks = true;
    plot.on("plotly_click", (event) => follow(plot, event));
  }
}

function follow(plot, event) {
  const y = event.event.clientY - plot.getBoundingClientRect().top;
  for (const point of event.points) {
    const { _offset: top = 0, _length: height = Infinity } = point.yaxis ?? {};
    const path = point.customdata;
    // Only a point of the panel under the pointer, and only a page of our own.
    if (y >= top - 8 && y <= top + height + 8 && typeof path === "string" && /^\/[^/\\]/.test(path)) {
      location.assign(path);
      return;
    }
  }
}

// Words about the figure.

function paragraph(name, text) {
  const made = document.createElement("p");
  made.className = name;
  made.textContent = text;
  return made;
}

const hour = (ms) => new Intl.DateTimeFormat("en-GB", {
  timeZone: root.dataset.zone || "UTC", hour: "2-digit", minute: "2-digit", second: "2-digit",
}).format(ms);

function note(state, text, kind) {
  state.box.classList.toggle("figure-error", kind === "error");
  state.box.classList.toggle("figure-stale", kind === "stale");
  const line = state.box.querySelector(".figure-note");
  line.hidden = !text;
  if (line.firstChild?.textContent === text) return;
  line.replaceChildren(text);
  if (kind !== "error" || state.ended) return;
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Try now";
  again.addEventListener("click", () => load(state));
  line.append(" ", again);
}

function failed(state, what) {
  state.failures = (state.failures ?? 0) + 1;
  state.sinceMs ??= Date.now();
  state.waitS = Math.min(VISIBLE_S * 2 ** (state.failures - 1), 240);
  const kept = state.figure?.as_of ? ` It shows ${hour(Date.parse(state.figure.as_of))}.` : "";
  const next = state.ended ? "" : ` Next try at ${hour(Date.now() + state.waitS * 1000)}.`;
  note(state, `Not up to date since ${hour(state.sinceMs)}: ${what}${kept}${next}`, "error");
  if (!state.figure) state.plot.replaceChildren(paragraph("figure-empty", "Nothing was drawn yet."));
}

// Fetching.

async function load(state) {
  if (state.busy) return;
  state.busy = true;
  state.askedMs = Date.now();
  const slow = setTimeout(() => note(state, "The server has not answered for 5 s; still waiting.", "slow"), SLOW_MS);
  try {
    const headers = { Accept: "application/json", ...(state.tag ? { "If-None-Match": state.tag } : {}) };
    const answer = await fetch(address(state.box, "table=0"), { headers, signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (answer.status !== 304) await take(state, answer);
    else settle(state);
  } catch (error) {
    failed(state, reason(error));
  } finally {
    clearTimeout(slow);
    state.busy = false;
  }
}

function reason(error) {
  if (error.name === "TimeoutError") return "the server did not answer within 20 s.";
  if (error.drawing) return `it could not be drawn (${error.message}); the table has the same figures.`;
  return "the server can't be reached.";
}

async function take(state, answer) {
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    state.ended = answer.status < 500;
    failed(state, said.error ? said.error.message : `the server answered ${answer.status}.`);
    return;
  }
  const figure = await answer.json();
  if (!window.Plotly) {
    failed(state, "the drawing script did not load; the table has the same figures.");
    return;
  }
  state.figure = figure;
  state.tag = answer.headers.get("ETag");
  state.box.setAttribute("aria-label", `${state.box.dataset.title}. ${figure.summary}`);
  try {
    draw(state);
  } catch (error) {
    throw Object.assign(error, { drawing: true });
  }
  settle(state);
}

function settle(state) {
  Object.assign(state, { failures: 0, sinceMs: undefined, waitS: undefined, ended: false });
  note(state, state.figure.stale ?? "", state.figure.stale ? "stale" : "");
}

export function address(box, more) {
  const url = box.dataset.figure.replace(/\?$/, "");
  return `${url}${url.includes("?") ? "&" : "?"}${more}`;
}

// When.

function due(state) {
  if (!state.askedMs) return true;
  if (state.ended || (state.figure && !state.figure.live)) return false;
  const waitS = Math.max(state.waitS ?? VISIBLE_S, document.hidden ? HIDDEN_S : 0);
  return Date.now() - state.askedMs >= waitS * 1000;
}

function look() {
  for (const [box, state] of states) {
    if (!box.isConnected) states.delete(box);
    else if ((!root.dataset.paused || !state.askedMs) && due(state)) load(state);
  }
}

function find() {
  for (const box of document.querySelectorAll("[data-figure]")) {
    if (states.has(box)) continue;
    const state = { box, plot: box.querySelector(".figure-plot") };
    states.set(box, state);
    new ResizeObserver(() => {
      if (state.figure && !state.figure.empty && state.narrow !== state.plot.clientWidth < NARROW_PX) draw(state);
    }).observe(state.plot);
    const twin = box.querySelector(".figure-table");
    twin?.addEventListener("toggle", () => twin.open && fillTable(twin, address(box, "format=json")));
  }
  look();
}

function recolour() {
  colours = new Map();
  states.forEach(draw);
}

document.body.append(probe);
probe.hidden = true;
find();
setInterval(look, 1000);
document.addEventListener("visibilitychange", () => {
  if (document.hidden || root.dataset.paused) return;
  for (const state of states.values()) if (state.figure?.live) load(state);
});
document.addEventListener("htmx:afterSettle", find);
document.addEventListener("themechange", recolour);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
matchMedia("(prefers-contrast: more)").addEventListener("change", recolour);
new MutationObserver(recolour).observe(root, { attributeFilter: ["data-theme"] });
