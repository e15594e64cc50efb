"""Who reports: the instances behind each figure, by name, for a person to see who is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from controller.adapters.metrics.prometheus.client import Answer, Endpoint
from controller.adapters.metrics.prometheus.expressions import WrittenAsk
from controller.adapters.metrics.prometheus.parts import Part, part_told, services_of
from controller.adapters.metrics.prometheus.promql import Ask, Form
from controller.adapters.metrics.prometheus.reader import answers
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Wanted
from controller.core.readings.recipe import Term, Written
from controller.core.readings.written import WrittenError, parsed

MOST_NAMES: Final = 100_000
Named = Mapping[Term, Mapping[str, frozenset[str]]]


def who(endpoint: Endpoint, wanted: Wanted, turn: Turn) -> Named:
    """Return the names of the instances that report now, by service, behind each leaf.

    A name is what the labels of an instance say, with ``/`` between. A leaf that was not answered
    is absent, and so is a written query that reads instances of no role.
    """
    now = Wanted(
        wanted.leaves,
        wanted.scope,
        Grid(wanted.grid.newest_s, wanted.grid.step_s, 1),
        wanted.written_for,
    )
    if not wanted.scope.services:
        return {}
    known, found = set(wanted.scope.services), dict[Term, dict[str, set[str]]]()
    left = MOST_NAMES
    for asks, answer in answers(endpoint, list(_parts(now)), now, turn):
        if isinstance(answer, Answer):
            for each in asks:
                found.setdefault(each.term, {})
            for term, service, name in _names(asks, answer.result[:left]):
                if service in known:
                    found[term].setdefault(service, set()).add(name)
            left -= len(answer.result[:left])
    return {
        term: {name: frozenset(names) for name, names in each.items()}
        for term, each in found.items()
    }


def _parts(wanted: Wanted) -> Iterator[Part]:
    for term, attach in wanted.leaves.items():
        if not isinstance(term, Written):
            yield Ask(term, attach, Form.WHO)
            continue
        try:
            told = parsed(term.text).tells_role(attach)
        except WrittenError:
            continue
        if told:
            for service in services_of(term, wanted):
                yield WrittenAsk(term, attach, Form.WHO, service)


def _names(asks: Sequence[Part], result: Sequence[object]) -> Iterator[tuple[Term, str, str]]:
    for series in result:
        found = part_told(series, asks)
        if found is None:
            continue
        ask, told, _ = found
        if isinstance(ask, WrittenAsk):
            service, mine = ask.service, ask.attach.instance
        else:
            service, mine = told.get(ask.attach.service, ""), ask.instance[1:]
        yield ask.term, service, "/".join(told.get(label, "") for label in mine)
