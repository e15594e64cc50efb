// Live regions: when to ask again, what not to disturb, and what to say when nobody answers.

const HIDDEN_S = 60;
const ANNOUNCE_MS = 30_000;
const root = document.documentElement;
const askedMs = new WeakMap();
const tags = new WeakMap();
const waiting = new WeakMap();
let misses = 0;
let heardMs = Date.now();

const regions = () => document.querySelectorAll("[data-live]");
const isStrip = (region) => region.id === "strip";
const startedMs = Date.now();

// When to ask again.

function due(region) {
  const everyS = Number(region.dataset.live);
  const waitS = document.hidden ? Math.max(everyS, HIDDEN_S) : everyS;
  return Date.now() - (askedMs.get(region) ?? startedMs) >= waitS * 1000;
}

function ask(region) {
  askedMs.set(region, Date.now());
  window.htmx.trigger(region, "live");
}

function look() {
  if (!root.dataset.paused) {
    for (const region of regions()) if (due(region)) ask(region);
  }
  tellLost();
}

setInterval(look, 1000);
document.addEventListener("visibilitychange", () => {
  if (document.hidden || root.dataset.paused) return;
  for (const region of regions()) ask(region);
});

// What not to disturb.

function changed(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked;
  return "defaultValue" in field && field.value !== field.defaultValue;
}

function selected(region) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed
    && (region.contains(selection.anchorNode) || region.contains(selection.focusNode));
}

function busy(region) {
  if (selected(region)) return true;
  // The strip keeps its focus by the ids of its buttons, and must never hide a freeze.
  if (isStrip(region)) return false;
  return region.contains(document.activeElement)
    || document.querySelector("dialog[open]") !== null
    || [...region.querySelectorAll("input:not([type=hidden]), textarea")].some(changed);
}

function offer(region) {
  if (waiting.has(region)) return;
  const chip = document.createElement("button");
  chip.type = "button";
  chip.className = "waiting-chip";
  chip.textContent = "Updates waiting — show";
  chip.addEventListener("click", () => {
    document.activeElement?.blur();
    document.getSelection()?.removeAllRanges();
    region.dataset.force = "1";
    ask(region);
  });
  region.before(chip);
  waiting.set(region, chip);
}

function settle(region) {
  delete region.dataset.force;
  waiting.get(region)?.remove();
  waiting.delete(region);
}

document.addEventListener("htmx:configRequest", (event) => {
  const tag = tags.get(event.detail.elt);
  if (tag) event.detail.headers["If-None-Match"] = tag;
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const region = event.detail.target;
  if (!region?.matches?.("[data-live]") || !event.detail.shouldSwap) return;
  if (busy(region) && !region.dataset.force) {
    event.detail.shouldSwap = false;
    offer(region);
    return;
  }
  tags.set(region, event.detail.xhr.getResponseHeader("ETag"));
  region.opened = [...region.querySelectorAll("details[open][id]")].map((each) => each.id);
  settle(region);
});

document.addEventListener("htmx:afterSwap", (event) => {
  const region = event.detail.target;
  for (const id of region.opened ?? []) {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }
  if (isStrip(region)) follow();
});

// What the title, the icon of the tab and the counters say.

const strip = () => document.querySelector("[data-strip]");
const pageTitle = document.title.slice((strip()?.dataset.title ?? "").length);
let said = strip()?.dataset.mode;

function counted(name, number) {
  const count = document.querySelector(`[data-count-of=${name}]`);
  if (!count) return;
  count.hidden = number === "0";
  count.firstChild.textContent = number;
}

function follow() {
  const now = strip();
  if (!now) return;
  document.title = now.dataset.title + pageTitle;
  const icon = document.querySelector("link[rel=icon]");
  if (icon.getAttribute("href") !== now.dataset.favicon) icon.href = now.dataset.favicon;
  counted("approvals", now.dataset.waiting);
  counted("overrides", now.dataset.overrides);
  showPause();
  if (said !== now.dataset.mode) announce(`The controller is ${now.dataset.mode}`);
  said = now.dataset.mode;
}

// One polite voice, at most every 30 s.

let lastSaidMs = 0;
let pending = [];

function announce(sentence) {
  pending.push(sentence);
  setTimeout(speak, Math.max(0, lastSaidMs + ANNOUNCE_MS - Date.now()));
}

function speak() {
  if (!pending.length) return;
  lastSaidMs = Date.now();
  document.getElementById("announce").textContent = pending.join(". ");
  pending = [];
}

// When nobody answers.

function tellLost() {
  const note = document.getElementById("lost");
  if (!note) return;
  const lost = misses >= 2;
  note.hidden = !lost;
  document.body.classList.toggle("is-lost", lost);
  const age = note.querySelector("[data-lost-age]");
  if (lost) age.textContent = `${Math.round((Date.now() - heardMs) / 1000)} s`;
}

document.addEventListener("htmx:afterRequest", (event) => {
  if (!isStrip(event.detail.elt)) return;
  if (event.detail.successful) {
    misses = 0;
    heardMs = Date.now();
  } else {
    misses += 1;
  }
  tellLost();
});

// A region that could not be refreshed keeps its last content and says so beside it.

function tellFailed(region, failed) {
  const note = region.previousElementSibling?.matches("[data-old]") ? region.previousElementSibling : null;
  if (!failed) return note?.remove();
  if (note) return;
  const told = document.createElement("p");
  told.dataset.old = "";
  told.className = "note warn flush small";
  const clock = document.querySelector("[data-clock]")?.textContent ?? "";
  told.textContent = `! Not refreshed since ${clock}: the ${region.dataset.liveName} shown are older. Trying again.`;
  region.before(told);
}

document.addEventListener("htmx:afterRequest", (event) => {
  const region = event.detail.elt;
  if (region.matches?.("[data-live]") && !isStrip(region)) tellFailed(region, !event.detail.successful);
});

// Pause and go on.

function showPause() {
  const paused = Boolean(root.dataset.paused);
  for (const button of document.querySelectorAll("[data-strip] [data-pause]")) {
    button.setAttribute("aria-pressed", String(paused));
    button.querySelector("[data-pause-word]").textContent = paused ? "Resume updates" : "Pause";
  }
  const note = document.getElementById("paused");
  if (note) note.hidden = !paused;
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-pause]")) return;
  if (root.dataset.paused) delete root.dataset.paused;
  else root.dataset.paused = "1";
  const clock = document.querySelector("[data-clock]");
  const at = document.querySelector("[data-paused-at]");
  if (clock && at) at.textContent = clock.textContent;
  showPause();
  document.dispatchEvent(new CustomEvent("live:paused", { detail: { paused: Boolean(root.dataset.paused) } }));
  if (!root.dataset.paused) for (const region of regions()) ask(region);
});
