// Shortcuts: one registry, from which the sheet of "?" is made. No key changes anything.

const OFF = "heteroscale.keys.off";
const go = (path) => () => location.assign(path);
// A key may open a page or a sheet and move the focus, never send a form.
const show = (id) => () => {
  const dialog = document.getElementById(id);
  if (dialog && !dialog.open) dialog.showModal();
};

function rows() {
  return [...document.querySelectorAll("a[data-row]")].filter((link) => link.offsetParent);
}

function move(by) {
  const links = rows();
  if (!links.length) return;
  const here = links.indexOf(document.activeElement);
  const next = here < 0 ? (by > 0 ? 0 : links.length - 1) : here + by;
  links[Math.min(links.length - 1, Math.max(0, next))].focus();
}

let ticked = null;

function tickOf(row) {
  const tick = row?.querySelector("input[type=checkbox]");
  return tick && !tick.disabled ? tick : null;
}

const ROW = "tr, [data-proposal]";

function tick() {
  const row = document.activeElement?.closest(ROW);
  tickOf(row)?.click();
  ticked = row;
}

function tickTo() {
  const row = document.activeElement?.closest(ROW);
  const all = [...(row?.parentElement.children ?? [])].filter((each) => each.matches(ROW));
  const [from, to] = [all.indexOf(ticked), all.indexOf(row)].sort((a, b) => a - b);
  if (from < 0) return tick();
  for (const each of all.slice(from, to + 1)) if (tickOf(each)?.checked === false) tickOf(each).click();
  ticked = row;
}

// The proposal that has the focus, else the first of the page; on its own page the form is there.
const answer = (verb) => () => {
  const card = document.activeElement?.closest("[data-proposal]");
  const opener = (card ?? document).querySelector(`main [data-verb=${verb}]`);
  if (opener) return opener.click();
  document.querySelector(`form#${verb} input:not([type=hidden])`)?.focus();
};
const follow = (selector) => () => document.querySelector(selector)?.click();
// The page's own freeze before the fleet's: the strip stands first in the document.
const freeze = () => document.querySelector("main [data-dialog^=freeze]") ?? document.querySelector("#open-freeze");

// Those without a function are the browser's own, or take more than one key.
const KEYS = [
  ["g o", "Go to the overview", go("/")],
  ["g s", "Go to the services", go("/services/")],
  ["g a", "Go to the approvals", go("/approvals/")],
  ["g d", "Go to the decisions", go("/decisions/")],
  ["g f", "Go to the fleet", go("/fleet/")],
  ["g v", "Go to the overrides", go("/overrides/")],
  ["g b", "Go to the backtests", go("/backtests/")],
  ["g u", "Go to the audit", go("/audit/")],
  ["j", "Next row", () => move(1)],
  ["k", "Previous row", () => move(-1)],
  ["Enter", "Open the row", null],
  ["← ↑ → ↓", "Move along a topology or a rack", null],
  ["x", "Tick the row", tick],
  ["X", "Tick the rows up to this one", tickTo],
  ["a", "Open the approval of the proposal", answer("approve")],
  ["r", "Open the rejection of the proposal", answer("reject")],
  ["Ctrl+Enter", "Confirm the sheet or the form", null],
  ["Esc", "Close the sheet", null],
  ["1…7", "Open a line of the attention list", null],
  ["f", "Freeze what the page shows, else the fleet", () => freeze()?.click()],
  [".", "Pause or resume live updates", follow("[data-pause]")],
  ["t", "Choose the time range", () => document.querySelector("[data-range] a")?.focus()],
  ["[", "Earlier, or the previous one", follow("a[data-earlier]")],
  ["]", "Later, or the next one", follow("a[data-later]")],
  ["y", "Copy the permalink", follow("a[data-copy]")],
  ["?", "Show this list", show("keys")],
];

const MEANING = new Map(KEYS.filter(([, , run]) => run).map(([keys, , run]) => [keys, run]));
let before = "";
let forget = 0;

function typing(target) {
  return target.isContentEditable || target.closest?.("input, select, textarea, [role=textbox]");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && event.key === "g") return;
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  if (localStorage.getItem(OFF)) return;
  const line = /^[1-7]$/.test(event.key) && document.querySelectorAll(".attention .line a[data-row]")[event.key - 1];
  if (line) return line.click();
  const run = MEANING.get(before ? `${before} ${event.key}` : event.key);
  clearTimeout(forget);
  before = !before && event.key === "g" ? "g" : "";
  forget = setTimeout(() => { before = ""; }, 1500);
  if (!run) return;
  event.preventDefault();
  run();
});

const list = document.querySelector("[data-keys]");
if (list) {
  for (const [keys, words] of KEYS) {
    const term = document.createElement("dt");
    for (const key of keys.split(" ")) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap, " ");
    }
    const meaning = document.createElement("dd");
    meaning.textContent = words;
    list.append(term, meaning);
  }
}

const switched = document.querySelector("[data-keys-on]");
if (switched) {
  switched.checked = !localStorage.getItem(OFF);
  switched.addEventListener("change", () => {
    if (switched.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
  });
}
