"""Which pods are looked at: those of known workloads, by the labels of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from controller.core.kube.parsing import matches

if TYPE_CHECKING:
    from collections.abc import Iterable

Chosen = tuple[str, Mapping[str, str]]
"""A namespace and the labels that pods there must have."""


class Selection:
    """Labels by which pods are chosen, found by one pair of each; it may change while in use."""

    def __init__(self, chosen: Iterable[Chosen] = ()) -> None:
        self._by_pair: dict[tuple[str, str, str], list[Mapping[str, str]]] = {}
        self._keys: frozenset[tuple[str, frozenset[tuple[str, str]]]] = frozenset()
        self.set(chosen)

    def chosen(self) -> frozenset[tuple[str, frozenset[tuple[str, str]]]]:
        """Return the namespaces and labels that are chosen now."""
        return self._keys

    def chosen_in(self, namespace: str | None) -> Callable[[], frozenset[object]]:
        """Return what tells what is chosen now in a namespace, ``None``: in all."""

        def chosen() -> frozenset[object]:
            return frozenset(one for one in self._keys if namespace in (None, one[0]))

        return chosen

    def set(self, chosen: Iterable[Chosen]) -> None:
        """Choose by these labels from now on; one without any chooses nothing (S21)."""
        made: dict[tuple[str, str, str], list[Mapping[str, str]]] = defaultdict(list)
        keys = set()
        for namespace, labels in chosen:
            if labels:
                key = min(labels)
                made[namespace, key, labels[key]].append(labels)
                keys.add((namespace, frozenset(labels.items())))
        self._by_pair, self._keys = dict(made), frozenset(keys)

    def means(self, namespace: str, labels: Mapping[str, object]) -> bool:
        """Return whether any of them chooses a pod."""
        known = self._by_pair
        return any(
            matches(each, labels)  # type: ignore[arg-type]
            for key, value in labels.items()
            for each in known.get((namespace, key, value), ())  # type: ignore[arg-type]
        )
