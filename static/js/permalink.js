// Copies the address under which the same is found later; without the clipboard the link opens it.

function say(link, text) {
  const line = link.parentElement.querySelector("[data-copied]");
  if (line) line.textContent = text;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-copy]");
  if (!link || !navigator.clipboard || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  navigator.clipboard.writeText(link.href).then(
    () => say(link, "copied"), () => location.assign(link.href));
});
