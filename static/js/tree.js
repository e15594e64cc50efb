// Arrows move along a drawn tree: up and down from box to box, left to the parent, right inwards.

const depthOf = (box) => Number(box.dataset.depth);

function next(boxes, here, key) {
  const depth = depthOf(boxes[here]);
  if (key === "ArrowRight") return depthOf(boxes[here + 1] ?? boxes[here]) > depth ? here + 1 : here;
  if (key === "ArrowLeft") {
    for (let at = here - 1; at >= 0; at -= 1) if (depthOf(boxes[at]) < depth) return at;
    return here;
  }
  const step = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (step) return Math.min(boxes.length - 1, Math.max(0, here + step));
  return { Home: 0, End: boxes.length - 1 }[key] ?? null;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const tree = event.target.closest?.("[data-tree]");
  const box = event.target.closest?.("a[data-depth]");
  if (!tree || !box) return;
  const boxes = [...tree.querySelectorAll("a[data-depth]")];
  const at = next(boxes, boxes.indexOf(box), event.key);
  if (at === null) return;
  event.preventDefault();
  boxes[at].focus();
});
