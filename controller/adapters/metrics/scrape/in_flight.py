"""How many requests instances still work on, asked of themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from controller.adapters.metrics.scrape.fetching import fetch
from controller.adapters.turn import Turn
from controller.core.readings.in_flight import Question
from controller.core.readings.scrapes import Instance, figures_of
from controller.core.readings.sources import Source, Target

_NUMBERS: Final = re.compile(r"[0-9.]+|.*:.*", re.ASCII)
"""An address in numbers names no pod."""


def in_flight(source: Source, question: Question, turn: Turn) -> Mapping[str, int]:
    """Return the requests of each instance; who is not known for sure is absent.

    Targets are those of the service whose instance, or the first part of whose address, is the
    name; of several all must answer. Raises nothing for what they answer, or that they don't.
    """
    owners = {
        target.url: name
        for target in source.targets
        if target.service == question.known_as and (name := _named(target, question))
    }
    targets = [target for target in source.targets if target.url in owners]
    fetched = fetch(
        replace(source, targets=targets),
        frozenset(name for leaf in question.leaves for name in leaf.names),
        turn,
        oldest_s=question.at_s - question.max_age_s,
        last=(),
    )
    unsound = {owners[url] for url in (*fetched.faults, *fetched.doubts)}
    instances = [
        Instance(owners[url], question.known_as, None, scrape)
        for url, scrape in fetched.scrapes.items()
    ]
    figures = figures_of(question.leaves, instances, question.known_as)
    return question.answer({name: each for name, each in figures.items() if name not in unsound})


def _named(target: Target, question: Question) -> str:
    """Return which of the instances a target is, empty where it is none of them."""
    host = urlsplit(target.url).hostname or ""
    first = "" if _NUMBERS.fullmatch(host) else host.split(".")[0]
    return next((name for name in (target.instance, first) if name in question.names), "")
