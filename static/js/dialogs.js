// Sheets: a link or button opens a dialog of the page; without scripts the link is a page.

function open(opener, event) {
  const dialog = document.getElementById(opener.dataset.dialog);
  if (!(dialog instanceof HTMLDialogElement)) return;
  event.preventDefault();
  if (!dialog.open) dialog.showModal();
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) return open(opener, event);
  if (event.target.closest("[data-close]")) return event.target.closest("dialog").close();
  // A click on the dialog itself, not on anything inside it, is one on its backdrop.
  if (event.target instanceof HTMLDialogElement) {
    const box = event.target.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right
      && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) event.target.close();
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  const dialog = event.target.closest?.("dialog[open]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && dialog) {
    dialog.querySelector("form")?.requestSubmit();
  }
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});
