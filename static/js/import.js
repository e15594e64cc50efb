// What is pasted travels as a file: a form field of many megabytes would be refused.

const form = document.querySelector("[data-import]");
const LARGE = 200_000;

if (form) {
  const pasted = form.querySelector("textarea[name=pasted]");
  const files = form.querySelector("input[name=uploads]");
  const told = form.querySelector("[data-told]");

  const held = [];

  function tell() {
    const sizes = [...files.files, ...held].map((file) => file.size);
    const size = pasted.value.length + sizes.reduce((sum, one) => sum + one, 0);
    if (size) told.textContent = `${(size / 1e6).toFixed(1)} MB to read${held.length ? ", the pasted text kept as a file" : ""}.`;
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
  pasted.addEventListener("input", tell);
  files.addEventListener("change", tell);

  // The browser keeps what was pasted, so going back does not lose it.
  form.addEventListener("formdata", (event) => {
    for (const file of held) event.formData.append("uploads", file);
    const text = event.formData.get("pasted") ?? "";
    if (text.length < LARGE) return;
    event.formData.set("pasted", "");
    event.formData.append("uploads", asFile(text));
  });

  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    files.files = event.dataTransfer.files;
    tell();
  });
}
