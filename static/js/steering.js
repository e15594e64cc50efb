// Steering pages: confirming a form by keys, and what happens when a proposal runs out.

const aheadMs = Number(document.documentElement.dataset.nowS) * 1000 - Date.now();

// Ctrl/⌘+Enter confirms the form one is in; the sheets of dialogs.js see to themselves.
document.addEventListener("keydown", (event) => {
  const form = event.target.closest?.("form[data-confirm]");
  if (!form || form.closest("dialog")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

// A proposal that runs out while it is read: said at once, and its buttons go.
let saidMinute = -1;

function expire(mark) {
  mark.textContent = "expired just now";
  delete mark.dataset.expires;
  const place = mark.closest("[data-proposal]");
  for (const button of place?.querySelectorAll("[data-verb], dialog button.primary, dialog button.stop") ?? []) button.remove();
  if (document.querySelectorAll("[data-proposal]").length === 1) {
    for (const button of document.querySelectorAll("form[data-confirm] button")) button.disabled = true;
  }
  tell("This proposal expired. The controller proposes again if it still wants the change.", "assertive");
}

function tell(sentence, manner) {
  const voice = document.getElementById("announce");
  if (!voice) return;
  voice.setAttribute("aria-live", manner);
  voice.textContent = sentence;
}

function look() {
  const marks = document.querySelectorAll("[data-expires]");
  for (const mark of marks) {
    const leftMs = Date.parse(mark.dataset.expires) - Date.now() - aheadMs;
    if (leftMs <= 0) expire(mark);
    else if (marks.length === 1) minute(Math.ceil(leftMs / 60_000));
  }
}

// Seen each second through clock.js, heard once a minute.
function minute(left) {
  if (left === saidMinute) return;
  if (saidMinute > 0) tell(`Expires in ${left} min`, "polite");
  saidMinute = left;
}

look();
setInterval(look, 1000);
