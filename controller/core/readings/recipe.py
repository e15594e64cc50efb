"""How a signal is made of metrics, in a form that a query language and two scrapes both answer.

A source answers leaves alone, for all services in one go; everything above a leaf is arithmetic
over services here, so that no figure depends on where it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

from controller.core.types import Role


class Kind(StrEnum):
    """What the series of a metric are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    BUCKETS = "buckets"


class Fold(StrEnum):
    """How several numbers become one."""

    SUM = "sum"
    MEAN = "avg"
    MOST = "max"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One metric, reduced to a number for each service and, where ``role`` is given, its role.

    ``names`` are the names it has had, the present one first: of an instance counts the first that
    it exports. ``having`` keeps series whose label matches the whole expression (RE2; a label that
    is absent is empty). ``apart`` are the labels that keep the series of one instance apart, such
    as data-parallel engines: series equal in them are the same one scraped twice (M12). The series
    of an instance become one by ``within``, instances by ``over``. Counters and buckets are taken
    as rates [1/s] of each series before anything is added up; buckets keep their bound ``le``, and
    their names are whole, with ``_bucket``. ``owner`` are labels, the first that is there counts,
    which name the pod that a series speaks of where its exporter is not the instance itself.
    Values from ``below`` on are no values: some exporters fill gaps with huge numbers. Without a
    ``role`` it is whoever speaks for the whole service, as a frontend does. ``source`` names the
    endpoint that answers, where there are several.
    """

    names: tuple[str, ...]
    kind: Kind
    role: Role | None
    having: tuple[tuple[str, str], ...] = ()
    apart: tuple[str, ...] = ()
    within: Fold = Fold.SUM
    over: Fold = Fold.SUM
    owner: tuple[str, ...] = ()
    below: float = inf
    source: str = ""

    def of(self, role: Role | None) -> Leaf:
        """Return the same of another role."""
        return replace(self, role=role)


@dataclass(frozen=True, slots=True)
class Written:
    """A figure by an expression of the operator's own, which an endpoint alone can answer.

    ``text`` is PromQL with the placeholders ``$service`` and ``$window``.
    """

    text: str
    source: str = ""

    @property
    def role(self) -> None:
        """Say that of no role it is known by itself: the expression tells what it reads."""


Term = Leaf | Written
"""What a source answers."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A total over a count, both as rates: the mean of what a histogram or a summary counted."""

    total: Leaf
    count: Leaf


@dataclass(frozen=True, slots=True)
class Quantile:
    """The value below which the share ``q`` lies, from the rates of cumulative buckets."""

    q: float
    buckets: Leaf


@dataclass(frozen=True, slots=True)
class Less:
    """What is left of ``whole`` without ``part``, never below 0."""

    whole: Recipe
    part: Recipe


@dataclass(frozen=True, slots=True)
class Plus:
    """The sum; a part that a service does not have adds nothing, all absent is absent."""

    parts: tuple[Recipe, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """The same in another unit."""

    recipe: Recipe
    factor: float


@dataclass(frozen=True, slots=True)
class First:
    """The first of them that a service has."""

    of: tuple[Recipe, ...]


Recipe = Leaf | Written | Mean | Quantile | Less | Plus | Times | First


class Speaker(StrEnum):
    """Who exports the metrics of a preset; which of several is preferred depends on the figure."""

    ENGINE = "engine"
    FRONTEND = "frontend"
    EXPORTER = "exporter"


@dataclass(frozen=True, slots=True)
class Load:
    """Gauges that add up to the requests one instance works on, of whatever role it is.

    ``always`` is what every instance has. Of ``either`` it has one set whole, such as the queues
    of its role: one that it does not tell of is not empty. ``held`` is memory that requests keep
    after they left all queues: while there is some, at least one of them is not over.
    """

    always: tuple[Leaf, ...]
    either: tuple[tuple[Leaf, ...], ...] = ((),)
    held: Leaf | None = None

    @property
    def counted(self) -> tuple[Leaf, ...]:
        """What is added up."""
        return (*self.always, *(leaf for each in self.either for leaf in each))

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """All that is to be read."""
        return self.counted if self.held is None else (*self.counted, self.held)


@dataclass(frozen=True, slots=True)
class Preset:
    """What one engine, frontend or exporter calls the signals.

    ``recipes`` are by name of a signal (``SIGNALS``) or of a further figure (``FIGURES``).
    ``proof`` are names of metrics of which one is enough to know it by. ``roles`` tell, by label
    and value, what role an instance has, where its metrics say so. ``load`` is what an instance
    works on, where they say that.
    """

    name: str
    title: str
    proof: tuple[str, ...]
    recipes: Mapping[str, Recipe]
    speaker: Speaker = Speaker.ENGINE
    roles: Mapping[str, Mapping[str, Role]] = field(default_factory=dict)
    load: Load | None = None


def placed(recipe: Recipe, source: str) -> Recipe:  # noqa: PLR0911 - one for each form
    """Return the same recipe, of which every term is answered by one endpoint."""
    match recipe:
        case Leaf() | Written():
            return replace(recipe, source=source)
        case Mean(total, count):
            return Mean(replace(total, source=source), replace(count, source=source))
        case Quantile(q, buckets):
            return Quantile(q, replace(buckets, source=source))
        case Less(whole, part):
            return Less(placed(whole, source), placed(part, source))
        case Plus(parts):
            return Plus(tuple(placed(part, source) for part in parts))
        case Times(inner, factor):
            return Times(placed(inner, source), factor)
        case First(of):
            return First(tuple(placed(one, source) for one in of))
