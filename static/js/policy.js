// The policy tab while somebody types: what can't be used is told to every reader, and waits.

// A status that says the same again would be read out again.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target, fragment } = event.detail;
  const isSame = target.textContent.trim() === fragment.textContent.trim();
  if (target.id === "policy-status" && isSame) event.detail.shouldSwap = false;
});

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target?.id !== "policy-changes") return;
  for (const said of document.querySelectorAll("#policy-form [id$='_error']")) {
    const field = document.getElementById(said.id.replace(/_error$/, ""));
    if (said.childElementCount) field?.setAttribute("aria-invalid", "true");
    else field?.removeAttribute("aria-invalid");
  }
  const adopt = document.querySelector("#policy-form [data-adopt]");
  if (adopt) adopt.disabled = document.querySelector("#policy-status [data-wrong]") !== null;
});

// Whoever types before the scripts are there, or comes back to what was typed, is told too.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("policy-form");
  const isTyped = (field) =>
    (field.defaultValue !== undefined && field.type !== "radio" && field.type !== "checkbox" &&
      field.type !== "hidden" && field.value !== field.defaultValue) ||
    (field.defaultChecked !== undefined && field.checked !== field.defaultChecked);
  if (form && [...form.elements].some(isTyped)) {
    form.dispatchEvent(new Event("input", { bubbles: true }));
  }
});
