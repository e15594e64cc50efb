// A question while it is put together: the address follows it, and every reader is told the answer.

const form = document.getElementById("what-if-form");

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target?.id !== "what-if-answer") return;
  const query = event.detail.target.querySelector("[data-permalink]")?.dataset.permalink ?? "";
  window.history.replaceState(null, "", query ? `?${query}` : window.location.pathname);
  const headline = event.detail.target.querySelector("[data-headline]");
  if (headline) document.getElementById("announce").textContent = headline.textContent;
  for (const field of form.elements) {
    const said = document.getElementById(`${field.id}_error`);
    if (!said) continue;
    if (said.childElementCount) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
});
