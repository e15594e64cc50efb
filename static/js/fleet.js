// How many nodes are ticked, and what "all that match" means for the single ticks.

const form = document.getElementById("fleet-form");

function count() {
  const every = form.querySelector("[data-every]");
  const ticks = [...form.querySelectorAll("input[name=node]")];
  for (const tick of ticks) tick.disabled = every.checked;
  const ticked = ticks.filter((tick) => tick.checked).length;
  const told = form.querySelector("[data-ticked]");
  told.dataset.usual ??= told.textContent;
  told.textContent = every.checked ? "All that match are chosen." : ticked ? `${ticked} ticked.` : told.dataset.usual;
}

// On a phone the filters would stand before every node.
if (matchMedia("(max-width: 900px)").matches) document.querySelector("[data-fold]")?.removeAttribute("open");

if (form) {
  form.addEventListener("change", count);
  document.addEventListener("htmx:afterSettle", count);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "x" || event.ctrlKey || event.metaKey || event.altKey) return;
    const tick = document.activeElement?.closest?.("tr")?.querySelector("input[name=node]");
    if (!tick || event.target.closest?.("input, select, textarea")) return;
    tick.checked = !tick.checked;
    count();
  });
}
