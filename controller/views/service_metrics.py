"""The metrics tab of a service: where it reads, what figures are made of, and a test of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import wiring
from controller.core import wording
from controller.core.readings.attach_plain import PlainError, attach_of
from controller.core.readings.choosing import recipes_for
from controller.core.readings.plain import recipe_text
from controller.core.readings.presets import FIGURES, KINDS, PRESETS, terms_of
from controller.core.readings.recipe import Leaf, Recipe
from controller.core.readings.sources import Use
from controller.core.readings.trying import Answered, Trial, Tried
from controller.core.readings.written import WrittenError, remarks_on
from controller.core.rights import NEEDS
from controller.core.types import SIGNALS, Quality, SignalKind
from controller.selectors import service_metrics as selected
from controller.selectors import service_page
from controller.services import metrics_plan, people, service_metrics
from controller.services.errors import ConflictError, InvalidError
from controller.services.metrics_plan import UnusableError
from controller.services.service_metrics import Wish
from controller.views import shell
from controller.views.chrome import rights_of
from inventory.models import MetricsEndpoint, Service, ServiceMetrics

LONGEST_QUERY: Final = 4000
LONGEST_REASON: Final = 1000
LONGEST_RANK: Final = 3
MOST_NAMES: Final = 5
TONES: Final[Mapping[Quality, str]] = {
    Quality.OK: "ok",
    Quality.PARTIAL: "warn",
    Quality.STALE: "warn",
    Quality.MISSING: "muted",
    Quality.INVALID: "crit",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One figure in words: what it is made of, and what it is."""

    kind: SignalKind
    recipe: str
    is_own: bool
    found: Tried | None

    @property
    def tone(self) -> str:
        """The icon of its quality."""
        return TONES[self.found.quality] if self.found else "muted"

    @property
    def word(self) -> str:
        """Its quality, or why there is none."""
        if self.found:
            return self.found.quality.value
        return "not read yet" if self.recipe else "no preset has it"

    @property
    def value(self) -> str:
        """Its value with the unit."""
        if self.found is None or self.found.value is None:
            return wording.UNKNOWN
        value, unit = self.found.value, self.kind.unit
        if unit == "share":
            return wording.percent(value)
        return wording.latency(value) if unit == "s" else f"{wording.number(value)} {unit}"

    @property
    def age(self) -> str:
        """How old its newest sample is."""
        return wording.duration(self.found.age_s if self.found else None)

    @property
    def coverage(self) -> str:
        """How many report of how many."""
        if self.found is None:
            return wording.UNKNOWN
        if self.found.whole:
            return "speaks for all"
        return f"{self.found.reporting} of {self.found.expected}"

    @property
    def missing(self) -> str:
        """The instances that don't report, by name as far as anything names them."""
        if self.found is None or self.found.whole:
            return ""
        names = self.found.missing
        nameless = self.found.expected - self.found.reporting - len(names)
        told = list(names[:MOST_NAMES])
        if len(names) > MOST_NAMES:
            told.append(f"{len(names) - MOST_NAMES:,} more")
        if nameless > 0 and self.found.named:
            told.append(f"{nameless:,} that nothing names")
        return ", ".join(told)


@dataclass(frozen=True, slots=True)
class Offer:
    """One endpoint and what the service reads, or would read, from it."""

    row: MetricsEndpoint
    is_read: bool
    rank: str
    known_as: str
    presets: Sequence[tuple[str, str, bool]]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What goes beside the page: a status, what was sent, its faults, what a test gave."""

    status: int = 200
    sent: QueryDict | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    conflict: str = ""
    trial: Trial | None = None
    fault: str = ""

    @property
    def reason(self) -> str:
        """The reason that was typed."""
        return self.sent.get("reason", "")[:LONGEST_REASON] if self.sent is not None else ""


@shell.page("GET", "POST")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what a service reads and where, or write where it reads."""
    service = _find(slug)
    if request.method != "POST":
        return _page(request, service)
    people.require(request.user, people.EDIT_SOURCES, service)
    try:
        changed = service_metrics.set_uses(
            service,
            _wishes(request.POST),
            seen=request.POST.get("mark", ""),
            user=request.user,
            reason=request.POST.get("reason", ""),
        )
    except InvalidError as fault:
        told = Told(400, request.POST, {fault.field: str(fault)})
        return _page(request, service, told)
    except ConflictError as conflict:
        return _page(request, service, Told(409, request.POST, conflict=str(conflict)))
    said = f"{slug} reads so from the next tick on." if changed else "Nothing differs."
    messages.success(request, said)
    return redirect("service-metrics", slug=slug)


@shell.page("POST")
def test(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask the endpoints, as the form says and nothing saved; a part of the page for scripts."""
    service = _find(slug)
    people.require(request.user, people.EDIT_SOURCES, service)
    sent = request.POST
    try:
        uses = service_metrics.uses_of(service, _wishes(sent))
        trial = wiring.trial_of(service, uses, selected.read_metrics(service).ready)
    except InvalidError as fault:
        return _page(request, service, Told(400, sent, {fault.field: str(fault)}))
    except UnusableError as fault:
        return _page(request, service, Told(400, sent, fault=str(fault)))
    return _page(request, service, Told(sent=sent, trial=trial))


@shell.page("GET", "POST")
def figure(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Show what one figure is made of; test a query of one's own, write it, or put it back."""
    service = _find(slug)
    if name not in KINDS:
        raise Http404(f"There is no figure {name}.")
    if request.method != "POST":
        return _figure(request, service, name)
    people.require(request.user, people.EDIT_SOURCES, service)
    act = {"save": _save, "back": _put_back}.get(request.POST.get("act", ""), _test_query)
    try:
        return act(request, service, name)
    except InvalidError as fault:
        told = Told(400, request.POST, {fault.field: str(fault)})
    except UnusableError as fault:
        told = Told(400, request.POST, fault=str(fault))
    return _figure(request, service, name, told)


def _save(request: HttpRequest, service: Service, name: str) -> HttpResponse:
    sent = request.POST
    service_metrics.write_query(
        service,
        sent.get("endpoint", "")[:63],
        name,
        sent.get("query", ""),
        user=request.user,
        reason=sent.get("reason", ""),
    )
    said = f"{KINDS[name].label} is read by this query from the next tick on."
    messages.success(request, said)
    return redirect("service-metrics", slug=service.slug)


def _put_back(request: HttpRequest, service: Service, name: str) -> HttpResponse:
    reason = request.POST.get("reason", "")
    done = service_metrics.put_back(service, name, user=request.user, reason=reason)
    said = f"{KINDS[name].label} is read by its preset from the next tick on."
    messages.success(request, said if done else "There is no query to put back.")
    return redirect("service-metrics", slug=service.slug)


def _test_query(request: HttpRequest, service: Service, name: str) -> HttpResponse:
    """Ask for the figure by the query that was typed, or as it is read where none was."""
    sent = request.POST
    read = selected.read_metrics(service)
    uses = [metrics_plan.use_of(row) for row in read.uses]
    query = sent.get("query", "").strip()
    if query:
        service_metrics.check_query(name, query)
        uses = [_with_query(use, sent.get("endpoint", ""), name, query) for use in uses]
    trial = wiring.trial_of(service, uses, read.ready)
    return _figure(request, service, name, Told(sent=sent, trial=trial))


def _with_query(use: Use, endpoint: str, name: str, query: str) -> Use:
    written = {signal: text for signal, text in use.written.items() if signal != name}
    if use.source == endpoint:
        written[name] = query
    return Use(use.source, use.known_as, use.presets, written)


def _find(slug: str) -> Service:
    service = service_page.find(slug)
    if service is None:
        raise Http404(f"There is no service {slug}.")
    return service


def _wishes(sent: QueryDict) -> list[Wish]:
    """Return what the form says is read; a number that is none is out of bounds."""
    found = []
    for slug in sent.getlist("endpoint"):
        rank = sent.get(f"rank-{slug}", "").strip()
        is_number = rank.isascii() and rank.isdigit() and len(rank) <= LONGEST_RANK
        presets = tuple(dict.fromkeys(sent.getlist(f"preset-{slug}")))
        known_as = sent.get(f"known-{slug}", "").strip()
        found.append(Wish(slug, int(rank) if is_number else 0, presets, known_as))
    return found


def _offers(read: selected.Read, told: Told) -> list[Offer]:
    uses = {use.endpoint.slug: use for use in read.uses}
    return [
        _offer(row, uses.get(row.slug), told.sent, told.faults.get(row.slug, ""))
        for row in read.endpoints
    ]


def _offer(
    row: MetricsEndpoint, use: ServiceMetrics | None, sent: QueryDict | None, fault: str
) -> Offer:
    if sent is not None:
        is_read = row.slug in sent.getlist("endpoint")
        rank, known_as = sent.get(f"rank-{row.slug}", "1"), sent.get(f"known-{row.slug}", "")
        chosen = set(sent.getlist(f"preset-{row.slug}"))
    else:
        is_read, rank = use is not None, str(use.rank) if use else "1"
        known_as, chosen = (use.known_as, set(use.presets)) if use else ("", set())
    presets = [(name, each.title, name in chosen) for name, each in PRESETS.items()]
    return Offer(row, is_read, rank[:10], known_as[:253], presets, fault)


def _uses(read: selected.Read) -> tuple[list[Use], str]:
    """Return what is read as it is kept, and what of it can't be used."""
    found: list[Use] = []
    broken = ""
    for row in read.uses:
        try:
            found.append(metrics_plan.use_of(row))
        except UnusableError as fault:
            broken = str(fault)
    return found, broken


def _lines(
    kinds: Sequence[SignalKind], uses: Sequence[Use], figures: Mapping[str, Tried]
) -> list[Line]:
    recipes = recipes_for(uses, tuple(KINDS)) if uses else {}
    own = {name for use in uses for name in use.written}
    return [
        Line(
            kind,
            recipe_text(recipes[kind.name]) if kind.name in recipes else "",
            kind.name in own,
            figures.get(kind.name),
        )
        for kind in kinds
    ]


def _page(request: HttpRequest, service: Service, told: Told | None = None) -> HttpResponse:
    told = told or Told()
    read = selected.read_metrics(service)
    uses, broken = _uses(read)
    if told.trial is not None and told.sent is not None:
        uses = service_metrics.uses_of(service, _wishes(told.sent))
    figures = told.trial.figures if told.trial else read.figures
    values = {
        "service": service,
        "offers": _offers(read, told),
        "mark": service_metrics.mark_of(service),
        "broken": broken,
        "reads": bool(uses),
        "groups": (
            ("Signals", _lines(SIGNALS, uses, figures)),
            ("Further figures", _lines(FIGURES, uses, figures)),
        ),
        "told": told,
        "reason": told.reason,
        "reason_fault": told.faults.get("reason", ""),
        "answered": _answered(told.trial),
        **_common(request, service),
    }
    is_part = bool(request.htmx) and told.trial is not None  # type: ignore[attr-defined]
    template = "_service_metrics_tried.html" if is_part else "service_metrics.html"
    # What htmx put on the page is an answer, whatever it says.
    status = 200 if request.htmx else told.status  # type: ignore[attr-defined]
    return render(request, f"controller/{template}", values, status=status)


def _figure(
    request: HttpRequest, service: Service, name: str, told: Told | None = None
) -> HttpResponse:
    told = told or Told()
    read = selected.read_metrics(service)
    uses, broken = _uses(read)
    kind, sent = KINDS[name], told.sent
    written = next(((use.source, use.written[name]) for use in uses if name in use.written), None)
    chosen, query = written or ("", "")
    if sent is not None:
        chosen, query = sent.get("endpoint", ""), sent.get("query", "")[:LONGEST_QUERY]
    figures = told.trial.figures if told.trial else read.figures
    recipe = recipes_for(uses, (name,)).get(name) if uses else None
    values = {
        "service": service,
        "kind": kind,
        "line": _lines([kind], uses, figures)[0],
        "queries": _queries(read, uses, recipe),
        "choices": [use.endpoint.slug for use in read.uses if use.endpoint.kind == "prometheus"],
        "chosen": chosen,
        "query": query,
        "written": written,
        "broken": broken,
        "remarks": _remarks(read, chosen, query, told),
        "told": told,
        "reason": told.reason,
        "answered": _answered(told.trial),
        **_common(request, service),
    }
    is_part = bool(request.htmx)  # type: ignore[attr-defined]
    template = "_service_metric_tried.html" if is_part else "service_metric.html"
    return render(
        request, f"controller/{template}", values, status=200 if is_part else told.status
    )


def _queries(
    read: selected.Read, uses: Sequence[Use], recipe: Recipe | None
) -> list[tuple[str, str, str]]:
    """Return the endpoint, the metric and its PromQL of each part of a figure."""
    if recipe is None:
        return []
    rows = {use.endpoint.slug: use.endpoint for use in read.uses}
    names = {use.source: use.known_as for use in uses}
    leaves = [term for term in terms_of((recipe,)) if isinstance(term, Leaf)]
    found = []
    for slug in dict.fromkeys(leaf.source for leaf in leaves):
        try:
            source = metrics_plan.source_of(rows[slug])
        except UnusableError:
            continue
        mine = [leaf for leaf in leaves if leaf.source == slug]
        texts = wiring.queries_of(source, names[slug], mine)
        found += [(slug, " or ".join(leaf.names), texts.get(leaf, "")) for leaf in mine]
    return found


def _remarks(read: selected.Read, endpoint: str, query: str, told: Told) -> Sequence[str]:
    """Return what should be known of a query that was tested and can be used."""
    rows = [use.endpoint for use in read.uses if use.endpoint.slug == endpoint]
    if told.trial is None or not query or not rows:
        return ()
    try:
        return remarks_on(query.strip(), attach_of(rows[0].attach))
    except (WrittenError, PlainError):
        return ()


def _answered(trial: Trial | None) -> Sequence[Answered]:
    return trial.answered if trial else ()


def _common(request: HttpRequest, service: Service) -> dict[str, Any]:
    may = rights_of(request).may(people.EDIT_SOURCES, service)
    return {"may_edit": may, "needs": NEEDS[people.EDIT_SOURCES], "now": timezone.now()}
