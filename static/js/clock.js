// Counts: the clock of the bar, and every age and countdown, told in the server's time.

const root = document.documentElement;
const aheadMs = Number(root.dataset.nowS) * 1000 - Date.now();
const nowMs = () => Date.now() + aheadMs;

// The same words as wording.py: the two largest units, seconds only where they matter.
function duration(seconds) {
  const total = Math.max(0, Math.round(seconds));
  for (const [unit, inner, unitS, innerS] of [["d", "h", 86400, 3600], ["h", "min", 3600, 60]]) {
    if (total >= unitS) {
      const rest = Math.floor((total % unitS) / innerS);
      return `${Math.floor(total / unitS)} ${unit}${rest ? ` ${rest} ${inner}` : ""}`;
    }
  }
  const minutes = Math.floor(total / 60);
  if (!minutes) return `${total} s`;
  return `${minutes} min${total % 60 && minutes < 10 ? ` ${total % 60} s` : ""}`;
}

const coarse = (seconds) => duration(seconds < 60 ? seconds : seconds - (seconds % 60));

function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function count() {
  for (const time of document.querySelectorAll("time[data-count]")) {
    const elapsedS = (nowMs() - Date.parse(time.dateTime)) / 1000;
    const kind = time.dataset.count;
    if (kind === "until") tell(time, duration(-elapsedS));
    else tell(time, coarse(elapsedS) + (kind === "ago" ? " ago" : ""));
  }
}

function beat() {
  const loop = document.querySelector("[data-beat]");
  const time = loop?.querySelector("time");
  if (!time) return;
  const periods = (nowMs() - Date.parse(time.dateTime)) / 1000 / Number(loop.dataset.periodS);
  const tone = periods >= 4 ? "crit" : periods >= 2 ? "warn" : "ok";
  if (!loop.classList.contains(tone)) loop.className = `beat ${tone}`;
}

const format = new Intl.DateTimeFormat("en-GB", {
  timeZone: root.dataset.zone || "UTC", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function second() {
  const clock = document.querySelector("[data-clock]");
  if (clock) tell(clock, `${format.format(nowMs())} ${clock.dataset.clock}`);
  if (root.dataset.paused) return;
  count();
  beat();
}

const zones = document.querySelector("[data-zones] [name=time_zone]");
if (zones) {
  const mine = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  zones.value = root.dataset.zone === "UTC" ? mine : "UTC";
}

second();
setInterval(second, 1000);
