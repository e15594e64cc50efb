// What is pasted travels as a file, and stays where it is until the server has taken it.

const form = document.querySelector("[data-import]");
const LARGE = 200_000;

if (form) {
  const pasted = form.querySelector("textarea[name=pasted]");
  const files = form.querySelector("input[name=uploads]");
  const told = form.querySelector("[data-told]");
  const forget = form.querySelector("[data-forget]");
  const faults = document.querySelector("[data-faults]");
  const button = form.querySelector("button.primary");
  let held = [];

  const size = () => pasted.value.length
    + [...files.files, ...held].reduce((sum, file) => sum + file.size, 0);

  function tell() {
    const kept = held.length ? ", the pasted text kept as a file" : "";
    if (size()) told.textContent = `${(size() / 1e6).toFixed(1)} MB to read${kept}.`;
    forget.hidden = !held.length;
  }

  function asFile(text) {
    return new File([text], "pasted", { type: "text/plain" });
  }

  // A box of many megabytes takes a browser a minute to lay out, so it is kept beside the box.
  pasted.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text") ?? "";
    if (text.length < LARGE) return;
    event.preventDefault();
    held.push(asFile(text));
    tell();
  });
  forget.addEventListener("click", () => {
    held = [];
    told.textContent = "What was pasted is forgotten.";
    tell();
    pasted.focus();
  });
  pasted.addEventListener("input", tell);
  files.addEventListener("change", tell);

  // A form field of many megabytes would be refused; a file is not.
  form.addEventListener("formdata", (event) => {
    for (const file of held) event.formData.append("uploads", file);
    const text = event.formData.get("pasted") ?? "";
    if (text.length < LARGE) return;
    event.formData.set("pasted", "");
    event.formData.append("uploads", asFile(text));
  });

  function complain(sentence) {
    const note = document.createElement("p");
    note.className = "note crit";
    note.textContent = `${sentence} What you pasted is still here.`;
    faults.replaceChildren(note);
    faults.scrollIntoView({ block: "center" });
  }

  // The answer is looked at before the page is left, so a refusal costs nobody the paste.
  async function send() {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (answer.redirected && new URL(answer.url).pathname.startsWith("/imports/")) {
      window.location.assign(answer.url);
      return;
    }
    if (answer.redirected) {
      complain("You were signed out: sign in again in another tab, then send this once more.");
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const said = page.querySelector("[data-faults]");
    const key = page.querySelector("[data-import] [name=key]");
    if (key) form.elements.key.value = key.value;
    if (said?.childElementCount) {
      faults.replaceChildren(...said.childNodes);
      faults.scrollIntoView({ block: "center" });
    } else {
      const why = page.querySelector("main p")?.textContent ?? "";
      complain(`The server refused it (${answer.status}). ${why}`);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    told.textContent = `Sending ${(size() / 1e6).toFixed(1)} MB…`;
    try {
      await send();
    } catch {
      complain("The server could not be reached.");
    } finally {
      button.disabled = false;
      tell();
    }
  });

  form.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("is-over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("is-over"));
  form.addEventListener("drop", (event) => {
    form.classList.remove("is-over");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    files.files = event.dataTransfer.files;
    tell();
  });
}
