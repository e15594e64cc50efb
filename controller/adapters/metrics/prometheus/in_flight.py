"""How many requests instances still work on, as a Prometheus last heard of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from controller.adapters.metrics.prometheus.client import CLOCK_SLACK_S, Answer, Endpoint
from controller.adapters.metrics.prometheus.filling import number
from controller.adapters.metrics.prometheus.parts import Part, part_told
from controller.adapters.metrics.prometheus.promql import Ask, Form, literal
from controller.adapters.metrics.prometheus.reader import answers
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Scope, Wanted
from controller.core.readings.attach import Attach, ByLabels, ByPod
from controller.core.readings.in_flight import Question
from controller.core.readings.recipe import Leaf

MOST_NAMES: Final = 200
"""Instances asked about at a time; of more nobody knows."""
POD: Final = "pod"
"""The label that names the pod of a series wherever Kubernetes is asked what to scrape."""


def in_flight(
    endpoint: Endpoint, attach: Attach, question: Question, turn: Turn
) -> Mapping[str, int]:
    """Return the requests of each instance; who is not known for sure is absent.

    It is by the label of the pod, or one that tells instances apart, that an instance is known.
    Raises nothing for what an endpoint answers, or that it doesn't.
    """
    if len(question.names) > MOST_NAMES:
        return {}
    parts = [
        Ask(leaf, named, form)
        for named in _attached(attach, question)
        for leaf in question.leaves
        for form in (Form.EACH, Form.UNSOUND)
    ]
    wanted = Wanted(
        {}, Scope((question.known_as,), int(question.max_age_s)), Grid(question.at_s, 1.0, 1)
    )
    figures: dict[str, dict[Leaf, float]] = {}
    unsound: set[str] = set()
    for asks, answer in answers(endpoint, parts, wanted, turn):
        if isinstance(answer, str) or answer.partial or answer.ahead_s > CLOCK_SLACK_S:
            return {}
        for ask, name, value in _told(asks, answer, question.known_as):
            if ask.form is Form.UNSOUND:
                unsound.add(name)
                continue
            mine = figures.setdefault(name, {})
            # NaN stays NaN.
            mine[ask.leaf] = float(np.maximum(mine.get(ask.leaf, -np.inf), value))
    sound = {name: mine for name, mine in figures.items() if name not in unsound}
    return question.answer(sound)


def _attached(attach: Attach, question: Question) -> Iterator[Attach]:
    """Yield ways to know the instances, each by another label, which stands first."""
    names = "|".join(map(literal, question.names))
    labels = (POD, *attach.instance) if isinstance(attach, ByLabels) else (attach.pod,)
    further = () if isinstance(attach, ByLabels) else (attach.namespace,)
    for label in dict.fromkeys(labels):
        instance = tuple(dict.fromkeys((label, *attach.instance, *further)))
        yield replace(_by_role(attach), instance=instance, only={**attach.only, label: names})


def _by_role(attach: Attach) -> Attach:
    """Return it without the expression for pods of no role: those are no instances."""
    if not isinstance(attach, ByPod):
        return attach
    return replace(attach, patterns={role: text for role, text in attach.patterns.items() if role})


def _told(asks: Sequence[Part], answer: Answer, known_as: str) -> Iterator[tuple[Ask, str, float]]:
    for series in answer.result:
        found = part_told(series, asks)
        if found is None:
            continue
        ask, told, points = found
        if isinstance(ask, Ask) and told.get(ask.attach.service) == known_as:
            yield ask, told.get(ask.attach.instance[0], ""), _last(points)


def _last(points: Sequence[object]) -> float:
    match points:
        case [*_, [_, text]]:
            return number(text)
        case _:
            return float("nan")
