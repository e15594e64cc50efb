"""Queries of the operator's own as PromQL: their figure, how old it is, who is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.adapters.metrics.prometheus.promql import NAME, Form, copied, listed
from controller.core.readings.asking import Scope
from controller.core.readings.attach import INFO, Attach, ByInfo
from controller.core.readings.recipe import Written
from controller.core.readings.written import Query, Selector, filled, parsed


@dataclass(frozen=True, slots=True)
class WrittenAsk:
    """One written query of one service, and what is asked about it."""

    written: Written
    attach: Attach
    form: Form
    service: str
    bounds = False

    @property
    def term(self) -> Written:
        """What it is a part of."""
        return self.written


def forms_of(written: Written, attach: Attach) -> tuple[Form, ...]:
    """Return what there is to ask about a query for its figure. Raises :class:`WrittenError`."""
    query = parsed(written.text)
    many = () if query.scalar else (Form.MANY,)
    who = (Form.REPORTING,) if query.tells_role(attach) else ()
    return (Form.VALUES, *many, Form.NEWEST, *who)


def expression(ask: WrittenAsk, scope: Scope) -> str:
    """Return the PromQL of one form of one written query, one series or none.

    Its age is that of the oldest of the newest samples of each selector. Reporting are instances
    of the selectors that tell a role, with a rate and no restart, or a sample, in the window. Who
    they are is a series for each. Raises :class:`WrittenError` and :class:`AttachError`.
    """
    query = parsed(ask.written.text)
    text = f"({filled(query.text, ask.service, scope.over_s)})"
    match ask.form:
        case Form.VALUES:
            return f"vector({text})" if query.scalar else f"max({text})"
        case Form.MANY:
            return f"count({text}) > 1"
        case Form.NEWEST:
            stamps = list(_stamps(query, ask, scope))
            return stamps[0] if len(stamps) == 1 else f"min({_apart(stamps)})"
        case _:
            who = _who(query, ask, scope)
            return who if ask.form is Form.WHO else f"count({who})"


def _stamps(query: Query, ask: WrittenAsk, scope: Scope) -> Iterator[str]:
    # Our own series says who is who: it is as fresh as we are, which tells nothing.
    told = [each for each in query.selectors if each.name != INFO] or query.selectors
    series = dict.fromkeys(_filled(each, ask, scope) for each in told)
    return (f"max({_of_service(f'timestamp({each})', query, ask, scope)})" for each in series)


def _apart(parts: list[str]) -> str:
    return " or ".join(
        f'label_replace({part}, "{NAME}", "{at}", "", "")' for at, part in enumerate(parts)
    )


def _who(query: Query, ask: WrittenAsk, scope: Scope) -> str:
    heard, restarted = [], []
    for each in query.selectors:
        series = _filled(each, ask, scope)
        if not query.speaks(each, ask.attach):
            continue
        if each.counted:
            heard.append(f"rate({series}[{scope.over_s}s])")
            restarted.append(f"(resets({series}[{scope.over_s}s]) > 0)")
        else:
            heard.append(f"(timestamp({series}) > time() - {scope.over_s})")
    one = listed(ask.attach.instance)
    them, others = (
        " or ".join(
            f"group by ({one}) ({_of_service(each, query, ask, scope)})"
            for each in dict.fromkeys(of)
        )
        for of in (heard, restarted)
    )
    return f"(({them}) unless ({others}))" if others else f"({them})"


def _filled(selector: Selector, ask: WrittenAsk, scope: Scope) -> str:
    return filled(selector.text, ask.service, scope.over_s)


def _of_service(series: str, query: Query, ask: WrittenAsk, scope: Scope) -> str:
    """Keep the pods that a query keeps by joining who is who."""
    if not isinstance(ask.attach, ByInfo):
        return series
    for each in query.selectors:
        if each.name == INFO:
            info = _filled(each, ask, scope)
            pod = (ask.attach.namespace, ask.attach.pod)
            for theirs, ours in zip(pod, ("namespace", "pod"), strict=True):
                info = info if theirs == ours else copied(info, theirs, ours)
            series = f"({series} and on ({listed(pod)}) {info})"
    return series
