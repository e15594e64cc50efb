// What is pasted travels as a file: a form field of many megabytes would be refused.

const form = document.querySelector("[data-import]");
const LARGE = 200_000;

if (form) {
  const pasted = form.querySelector("textarea[name=pasted]");
  const files = form.querySelector("input[name=uploads]");
  const told = form.querySelector("[data-told]");

  function tell() {
    const size = pasted.value.length + [...files.files].reduce((sum, file) => sum + file.size, 0);
    if (size) told.textContent = `${(size / 1e6).toFixed(1)} MB to read.`;
  }
  pasted.addEventListener("input", tell);
  files.addEventListener("change", tell);

  // The browser keeps what was pasted, so going back does not lose it.
  form.addEventListener("formdata", (event) => {
    const text = event.formData.get("pasted") ?? "";
    if (text.length < LARGE) return;
    event.formData.set("pasted", "");
    event.formData.append("uploads", new File([text], "pasted", { type: "text/plain" }));
  });

  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    files.files = event.dataTransfer.files;
    tell();
  });
}
