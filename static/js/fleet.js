// The nodes that are chosen, and what a change would do to them as a sheet over the page.

const table = document.getElementById("fleet-form");

// How many are ticked, and what "all that match" means for the single ticks.

function count() {
  const every = table.querySelector("[data-every]");
  const ticks = [...table.querySelectorAll("input[name=node]")];
  for (const tick of ticks) tick.disabled = every.checked;
  const ticked = ticks.filter((tick) => tick.checked).length;
  const told = table.querySelector("[data-ticked]");
  told.dataset.usual ??= told.textContent;
  told.textContent = every.checked ? "All that match are chosen." : ticked ? `${ticked} ticked.` : told.dataset.usual;
}

if (table) {
  table.addEventListener("change", count);
  document.addEventListener("htmx:afterSettle", count);
  // A browser that goes back shows the ticks of before.
  window.addEventListener("pageshow", count);
  const fold = document.querySelector("[data-fold]");
  if (fold && window.matchMedia("(max-width: 900px)").matches) fold.open = false;
}

// The page that shows the consequences, as a sheet; without scripts it is that page.

function sheetOf(page) {
  const change = page.querySelector("[data-change]");
  if (!change) return null;
  const sheet = document.createElement("dialog");
  sheet.className = change.querySelector("button.stop") ? "sheet wide stop" : "sheet wide";
  sheet.setAttribute("aria-labelledby", "change-title");
  sheet.append(document.importNode(change, true));
  sheet.addEventListener("close", () => sheet.remove());
  sheet.addEventListener("click", (event) => {
    if (!event.target.closest("[data-not-now]")) return;
    event.preventDefault();
    sheet.close();
  });
  return sheet;
}

function tell(page) {
  const notes = page.querySelectorAll("main > .note");
  document.querySelectorAll("main > .note").forEach((note) => note.remove());
  document.querySelector("main").prepend(...[...notes].map((note) => document.importNode(note, true)));
  window.scrollTo(0, 0);
}

async function show(form, button) {
  const answer = await fetch(form.getAttribute("action"), {
    method: "POST",
    body: new URLSearchParams(new FormData(form, button)),
  });
  if (answer.redirected && new URL(answer.url).pathname.startsWith("/sign-in")) return location.assign(answer.url);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const sheet = sheetOf(page);
  if (!sheet) return tell(page);
  document.body.append(sheet);
  sheet.showModal();
  sheet.querySelector("[data-not-now]")?.focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-change-form]") || event.submitter?.name !== "action") return;
  event.preventDefault();
  const button = event.submitter;
  show(form, button).catch(() => {
    form.removeAttribute("data-change-form");
    form.requestSubmit(button);
  });
});
