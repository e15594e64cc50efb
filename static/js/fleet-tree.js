// Arrow keys along a drawing: up and down a column, right into a group, left to what holds it.

function trees() {
  return [...document.querySelectorAll("[data-tree]")];
}

function linksOf(tree) {
  return tree ? [...tree.querySelectorAll("a[data-depth]")] : [];
}

// Past the end of a column it goes on in the one that holds it.
function along(rest, depth) {
  return rest.find((link) => Number(link.dataset.depth) === depth)
    ?? rest.find((link) => Number(link.dataset.depth) < depth);
}

function target(key, tree, link) {
  const links = linksOf(tree);
  const at = links.indexOf(link);
  const depth = Number(link.dataset.depth);
  const all = trees();
  const beside = (by) => linksOf(all[all.indexOf(tree) + by])[0];
  const before = links.slice(0, at).reverse();
  switch (key) {
    case "ArrowDown": return along(links.slice(at + 1), depth);
    case "ArrowUp": return along(before, depth);
    case "ArrowRight": return Number(links[at + 1]?.dataset.depth) > depth ? links[at + 1] : beside(1);
    case "ArrowLeft": return before.find((one) => Number(one.dataset.depth) < depth) ?? beside(-1);
    case "Home": return links[0];
    case "End": return links.at(-1);
    default: return undefined;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const link = event.target.closest?.("[data-tree] a[data-depth]");
  const next = link && target(event.key, link.closest("[data-tree]"), link);
  if (!next) return;
  event.preventDefault();
  next.focus();
});

// On a narrow screen what is in focus may be to the right of what is seen.
for (const link of document.querySelectorAll("[data-tree] .in-focus")) {
  const box = link.closest(".drawing-box");
  if (!box) continue;
  const over = link.getBoundingClientRect().left - box.getBoundingClientRect().left;
  if (over > box.clientWidth / 2) box.scrollLeft += over - 24;
}
