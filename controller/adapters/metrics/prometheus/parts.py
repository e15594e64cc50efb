"""Requests of several parts: how many go into one, and as what query."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeGuard

from controller.adapters.metrics.prometheus.expressions import WrittenAsk, expression, forms_of
from controller.adapters.metrics.prometheus.promql import Ask, Form, query
from controller.core.readings.asking import Scope, Wanted
from controller.core.readings.recipe import Fold, Leaf, Written
from controller.core.readings.written import WrittenError

LEAF: Final = "heteroscale_leaf"
"""The label that tells to which part of a request a series of its answer belongs."""
MOST_WEIGHT: Final = 12
"""Parts of one request; the buckets of a histogram, many times as many series, are one alone."""
BUCKETS_WEIGHT: Final = 12
FIGURE: Final = (Form.VALUES, Form.NEWEST, Form.REPORTING)
"""What is asked about a leaf."""
MOST_SHOWN: Final = 80
MOST_DIGITS: Final = 4
Part = Ask | WrittenAsk
Told = Mapping[str, str]


def parts_of(wanted: Wanted) -> Iterator[Part]:
    """Yield what is to be asked for figures; of a query that can't be used, its figure alone."""
    for term, attach in wanted.leaves.items():
        if not isinstance(term, Written):
            yield from (Ask(term, attach, form) for form in FIGURE)
            continue
        try:
            forms = forms_of(term, attach)
        except WrittenError:
            forms = (Form.VALUES,)
        for service in services_of(term, wanted):
            yield from (WrittenAsk(term, attach, form, service) for form in forms)


def services_of(written: Written, wanted: Wanted) -> list[str]:
    """Return the services that a written query is asked for."""
    theirs = wanted.written_for.get(written)
    return [each for each in wanted.scope.services if theirs is None or each in theirs]


def agains_of(parts: Iterable[Part]) -> list[Part]:
    """Return what is to be asked before buckets are: whether an instance is scraped twice."""
    return [Ask(each.leaf, each.attach, Form.AGAIN) for each in parts if _is_heavy(each)]


def once(part: Part, twice: Collection[Leaf]) -> Part:
    """Return buckets as they are asked when it is known of which an instance is scraped twice."""
    return replace(part, once=part.leaf not in twice) if _is_heavy(part) else part


def _is_heavy(part: Part) -> TypeGuard[Ask]:
    return isinstance(part, Ask) and part.bounds and part.leaf.within is part.leaf.over is Fold.SUM


def requests_of(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield what goes into one request, the heavy first; what people wrote is apart and last."""
    ordered = sorted(parts, key=lambda each: (isinstance(each, WrittenAsk), -_weight(each)))
    request: list[Part] = []
    weight = 0
    for each in ordered:
        apart = request and isinstance(request[-1], WrittenAsk) != isinstance(each, WrittenAsk)
        if request and (apart or weight + _weight(each) > MOST_WEIGHT):
            yield request
            request, weight = [], 0
        request.append(each)
        weight += _weight(each)
    if request:
        yield request


def _weight(each: Part) -> int:
    return BUCKETS_WEIGHT if each.bounds else 1


def joined(parts: Sequence[Part], scope: Scope) -> str:
    """Return one query for all of them; the label ``LEAF`` is the position of each.

    Raises :class:`AttachError` and :class:`WrittenError`.
    """
    return _united(
        [
            f'label_replace({_text(part, scope)}, "{LEAF}", "{at}", "", "")'
            for at, part in enumerate(parts)
        ]
    )


def _text(part: Part, scope: Scope) -> str:
    return expression(part, scope) if isinstance(part, WrittenAsk) else query(part, scope)


def _united(parts: Sequence[str]) -> str:
    """Unite in halves: in a row, the server would look at the first series with every part."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_united(parts[:half])} or {_united(parts[half:])})"


def part_told(series: object, parts: Sequence[Part]) -> tuple[Part, Told, list[object]] | None:
    """Return to which part a series of an answer belongs, its labels and its points, if to any."""
    match series:
        case {"metric": {**labels}, "values": [*points]}:
            told = {str(name): text for name, text in labels.items() if isinstance(text, str)}
        case _:
            return None
    at = told.get(LEAF, "")
    if not (at.isascii() and at.isdigit() and len(at) <= MOST_DIGITS and int(at) < len(parts)):
        return None
    return parts[int(at)], told, points


def called(part: Part) -> str:
    """Return what a person knows a part by."""
    if isinstance(part, Ask):
        return part.leaf.names[0]
    text = " ".join(part.written.text.split())
    return f"{part.service}: {text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + '…'}"
