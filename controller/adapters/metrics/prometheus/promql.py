"""Leaves as PromQL: pure text, in which no name of ours can become a part of the language."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.core.readings.asking import Scope
from controller.core.readings.attach import INFO, Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.recipe import Fold, Kind, Leaf
from controller.core.types import Role

BOUND: Final = "le"
NAME: Final = "heteroscale_name"
OWNER: Final = "heteroscale_owner"
OWNER_NAMESPACE: Final = "heteroscale_owner_namespace"
MOST_NAMED: Final = 200
"""Services named one by one; beyond, an alternation costs the server more than it saves."""
LATELY_S: Final = 300
"""So long a series that has ended is missed."""
TOO_MANY: Final = 10**9
"""No gauge of requests is that high."""
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


class AttachError(ValueError):
    """What tells service and role can't be asked for; the text says what is wrong with it."""


class Form(StrEnum):
    """What is asked about a term.

    Again is of buckets, whether any instance is scraped twice; many is of written queries,
    whether they give several series; who is for a person to see. Each are the values of every
    instance by the first label of ``Attach.instance``, of sound samples alone; unsound are those
    of whose samples some are not, or were there lately and are not now.
    """

    VALUES = "values"
    NEWEST = "newest"
    REPORTING = "reporting"
    AGAIN = "again"
    MANY = "many"
    WHO = "who"
    EACH = "each"
    UNSOUND = "unsound"


@dataclass(frozen=True, slots=True)
class Ask:
    """One leaf, where its service and role are known from, and what is asked about it.

    ``once`` if no instance is known to be scraped twice: telling such apart is half the work.
    """

    leaf: Leaf
    attach: Attach
    form: Form
    once: bool = False

    @property
    def term(self) -> Leaf:
        """What it is a part of."""
        return self.leaf

    @property
    def instance(self) -> tuple[str, ...]:
        """The labels that one instance has alone, with that of its service."""
        mine = (OWNER_NAMESPACE, OWNER) if self.leaf.owner else self.attach.instance
        return (self.attach.service, *mine)

    @property
    def pod(self) -> tuple[str, str]:
        """The labels that name namespace and pod of what a series speaks of."""
        if self.leaf.owner or isinstance(self.attach, ByLabels):
            return OWNER_NAMESPACE, OWNER
        return self.attach.namespace, self.attach.pod

    @property
    def bounds(self) -> bool:
        """Whether its answer has a series for each bound of a histogram."""
        return self.form is Form.VALUES and self.leaf.kind is Kind.BUCKETS


def query(ask: Ask, scope: Scope) -> str:
    """Return the query of one form of one leaf, a series for each service and bound.

    Values are rates of each series, or gauges, the same of two scrapes of one instance counted
    once, then folded over what is apart in an instance, then over instances. Reporting are
    instances with a rate and no restart, or a gauge, within the window; who they are is a series
    for each. Raises :class:`AttachError`.
    """
    leaf, attach = ask.leaf, ask.attach
    one = listed(ask.instance)
    if ask.form is Form.VALUES:
        return _values(ask, scope, one)
    if ask.form in {Form.EACH, Form.UNSOUND, Form.AGAIN}:
        return _again(ask, scope) if ask.form is Form.AGAIN else _of_each(ask, scope)
    told = [
        _placed(ask, _kept(leaf, f"timestamp({each})", each), scope)
        for each in _selectors(ask, scope, whole=True)
    ]
    stamps = _first_of((f"max by ({one}) ({each})" for each in told), one)
    if ask.form is Form.NEWEST:
        return f"max by ({attach.service}) ({told[0] if len(told) == 1 else stamps})"
    who = _who(ask, scope, one, stamps)
    return who if ask.form is Form.WHO else f"count by ({attach.service}) ({who})"


def _who(ask: Ask, scope: Scope, one: str, stamps: str) -> str:
    if ask.leaf.kind is Kind.GAUGE:
        # A gauge is answered for minutes after its last sample; who is that old reports no more.
        return f"({stamps}) > time() - {scope.over_s}"
    rates, resets = (
        " or ".join(
            f"group by ({one}) ({_placed(ask, form.format(f'{each}[{scope.over_s}s]'), scope)})"
            for each in _selectors(ask, scope, whole=True)
        )
        for form in ("rate({})", "(resets({}) > 0)")
    )
    # What an instance did before a restart is not all in its rate: it is not heard of (M11).
    return f"({rates}) unless ({resets})"


def _values(ask: Ask, scope: Scope, one: str) -> str:
    leaf, attach = ask.leaf, ask.attach
    bound = (BOUND,) if leaf.kind is Kind.BUCKETS else ()
    apart = listed((*ask.instance, *leaf.apart, *bound))
    total = f"{leaf.over} by ({listed((attach.service, *bound))})"
    each = [_placed(ask, _taken(leaf, name, scope), scope) for name in _selectors(ask, scope)]
    if bound and len(each) > 1:
        return _total_of_first(ask, scope, each, total)
    if ask.once:
        return f"{total} ({each[0]})"
    found = _first_of((f"max by ({apart}) ({series})" for series in each), one)
    # Sums of sums and maxima of maxima need no step between; means of means are not the mean.
    if leaf.apart and (leaf.within is not leaf.over or leaf.over is Fold.MEAN):
        found = f"{leaf.within} by ({listed((*ask.instance, *bound))}) ({found})"
    return f"{total} ({found})"


def _of_each(ask: Ask, scope: Scope) -> str:
    """Return what a gauge of each instance adds up to, or whose samples can't all be used.

    Used is a number from 0 that is no older than ``scope.over_s``. Whoever had a series within
    ``LATELY_S`` that has no such sample now is not known whole (M17).
    """
    sound = {
        each: f"((({each} >= 0) < {TOO_MANY}) and (timestamp({each}) > time() - {scope.over_s}))"
        for each in _selectors(ask, scope)
    }
    one = listed((ask.attach.service, ask.attach.instance[0]))
    if ask.form is Form.UNSOUND:
        whole = " or ".join(sound.values())
        lately = (
            _placed(ask, f"(count_over_time({each}[{LATELY_S}s]) unless ({whole}))", scope)
            for each in sound
        )
        return f"count by ({one}) ({' or '.join(lately)})"
    apart = listed((*ask.instance, *ask.leaf.apart))
    found = " or ".join(_placed(ask, each, scope) for each in sound.values())
    return f"sum by ({one}) (max by ({apart}) ({found}))"


def _again(ask: Ask, scope: Scope) -> str:
    apart = listed((*ask.instance, *ask.leaf.apart))
    series = (
        _placed(ask, f"rate({each}[{scope.over_s}s])", scope)
        for each in _selectors(ask, scope, whole=True)
    )
    twice = " or ".join(f"(count by ({apart}) ({each}) > 1)" for each in series)
    return f"count({twice})"


def _total_of_first(ask: Ask, scope: Scope, each: Sequence[str], total: str) -> str:
    """Add up buckets of which of each instance the first name counts.

    What :func:`_first_of` does would look at every bucket with every name that nobody has; here
    the further names alone are looked at.
    """
    apart = listed((*ask.instance, *ask.leaf.apart, BOUND))

    def added(series: str) -> str:
        return f"{total} ({series if ask.once else f'max by ({apart}) ({series})'})"

    wholes = [_placed(ask, name, scope) for name in _selectors(ask, scope, whole=True)]
    parts = [added(each[0])]
    for at in range(1, len(each)):
        earlier = " or ".join(wholes[:at])
        other = f"{each[at]} unless on ({listed(ask.instance)}) ({earlier})"
        parts.append(f'label_replace({added(other)}, "{NAME}", "{at}", "", "")')
    return f"{total} ({' or '.join(parts)})"


def _first_of(each: Iterator[str], one: str) -> str:
    """Of an instance counts the first name that it exports, whatever labels the others have."""
    return f" or on ({one}) ".join(each)


def _taken(leaf: Leaf, selector: str, scope: Scope) -> str:
    if leaf.kind is Kind.GAUGE:
        return _kept(leaf, selector, selector)
    return f"rate({selector}[{scope.over_s}s])"


def _kept(leaf: Leaf, series: str, selector: str) -> str:
    """Leave out what is no value; NaN is one, and ``<`` would leave it out too."""
    if leaf.below == math.inf or leaf.kind is not Kind.GAUGE:
        return series
    return f"({series} unless ({selector} >= {leaf.below:.0f}))"


def _selectors(ask: Ask, scope: Scope, *, whole: bool = False) -> Iterator[str]:
    """Yield a selector for each name; ``whole`` has of buckets only the one that all have."""
    leaf = ask.leaf
    terms = [f"{_label(name)}=~{quoted(having)}" for name, having in leaf.having]
    terms += [f"{_label(name)}=~{quoted(having)}" for name, having in ask.attach.only.items()]
    if whole and leaf.kind is Kind.BUCKETS:
        terms.append(f'{BOUND}="+Inf"')
    terms += _terms(ask.attach, leaf, scope)
    for name in leaf.names:
        if not _METRIC.fullmatch(name):
            raise AttachError(f"{name!r} is no name of a metric.")
        yield f"{name}{{{','.join(terms)}}}"


def _terms(attach: Attach, leaf: Leaf, scope: Scope) -> list[str]:
    """Keep series of the services and the role, as far as labels alone tell."""
    match attach:
        case ByLabels():
            mine = [_named(attach.service, scope)]
            if leaf.role is not None and leaf.role not in attach.roles:
                raise AttachError(f"No label value tells which are {leaf.role}.")
            if leaf.role is not None:
                mine.append(f"{_label(attach.role)}={quoted(attach.roles[leaf.role])}")
            return mine
        case ByPod() if not leaf.owner:
            either = "|".join(f"(?:{each})" for each in _patterns(attach, leaf.role))
            return [f"{_label(attach.pod)}=~{quoted(either)}"]
        case _:
            return []


def _named(label: str, scope: Scope) -> str:
    """Keep the services asked for, by name if they are few, else all that have one."""
    if len(scope.services) > MOST_NAMED:
        return f'{_label(label)}!=""'
    return f"{_label(label)}=~{quoted('|'.join(map(literal, scope.services)))}"


def _placed(ask: Ask, series: str, scope: Scope) -> str:
    """Return the series with labels that name their service, and their owner if it is another."""
    # The first owner that is there counts: it is written last.
    for name in reversed(ask.leaf.owner):
        series = copied(series, OWNER, name)
        series = copied(series, OWNER_NAMESPACE, name.replace("pod", "namespace"))
    match ask.attach:
        case ByLabels():
            return series
        case ByInfo():
            joins = f"on ({listed(ask.pod)}) group_left (service)"
            return f"{series} * {joins} {_info(ask, scope)}"
        case ByPod() as attach:
            for each in _patterns(attach, ask.leaf.role):
                group = f"${re.compile(each).groupindex['service']}"
                series = (
                    f'label_replace({series}, "{attach.service}", "{group}",'
                    f' "{_label(ask.pod[1])}", {quoted(each)})'
                )
            return series


def copied(series: str, to: str, name: str) -> str:
    """Return series with a label that has what another one says. Raises :class:`AttachError`."""
    return f'label_replace({series}, "{to}", "$1", "{_label(name)}", "(.+)")'


def _info(ask: Ask, scope: Scope) -> str:
    """Return one series of value 1 for each pod; a pod told of twice must not fail the query."""
    role = "" if ask.leaf.role is None else f",role={quoted(ask.leaf.role.value)}"
    found = f"{INFO}{{{_named('service', scope)}{role}}}"
    for theirs, ours in zip(ask.pod, ("namespace", "pod"), strict=True):
        if theirs != ours:
            found = copied(found, theirs, ours)
    on = listed(ask.pod)
    return f"topk by ({on}) (1, group by ({on},service) ({found}))"


def _patterns(attach: ByPod, role: Role | None) -> list[str]:
    if role in attach.patterns:
        found = [attach.patterns[role]]
    else:
        found = [each for known, each in attach.patterns.items() if role is None and known]
    if not found:
        raise AttachError(f"No pattern tells which pods are {role or 'of a service'}.")
    for each in found:
        try:
            groups = re.compile(each).groupindex
        except re.error:
            raise AttachError(f"The pattern {each!r} can't be read.") from None
        if "service" not in groups:
            raise AttachError(f"The pattern {each!r} has no group (?P<service>…).")
    return found


def quoted(text: str) -> str:
    """Return a string of PromQL that means exactly this text."""
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in text) + '"'


def literal(text: str) -> str:
    """Return an expression (RE2) that matches this text alone."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def listed(labels: Sequence[str]) -> str:
    """Return names of labels as a list. Raises :class:`AttachError`."""
    return ",".join(map(_label, labels))


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise AttachError(f"{name!r} is no name of a label.")
    return name
