"""The policy tab of a service: read, checked as it is typed, simulated, adopted and taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from controller import wiring
from controller.core import wording
from controller.core.policy_fields import FIELDS as POLICY_FIELDS
from controller.core.policy_fields import GROUPS, differences, told
from controller.selectors import policy_page, suggestions
from controller.selectors.in_use import in_use
from controller.selectors.policy_page import InForce
from controller.services import backtest_load, people, policy_edits
from controller.services import backtests as backtest_service
from controller.services.backtest_load import DOCUMENTS
from controller.services.errors import ConflictError, InvalidError, TooManyError
from controller.simulator.backtest.question import QuestionError
from controller.views import backtest_form, fragments, policy_trial, shell
from controller.views.chrome import rights_of
from controller.views.policy_form import PolicyForm
from controller.views.policy_merge import Merged, merge
from controller.views.policy_trial import TrialForm
from inventory.models import Service

TRIED: Final = "simulation"
ESTIMATED: Final = "estimate"
EARLIER: Final = "revision"
LONGEST_REVISION: Final = 9


@dataclass(frozen=True, slots=True)
class Told:
    """What went wrong with what was sent: a status, a conflict, and what others changed."""

    status: int = 200
    conflict: str = ""
    merged: Merged | None = None
    revert: int = 0
    revert_fault: str = ""


@shell.page("GET", "POST")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the policy with its form, or adopt what the form says."""
    now = _in_force(slug)
    if request.method == "POST":
        return _adopt(request, now)
    return _render(request, now, PolicyForm(body=_first(request, now), opened=now.revision))


def _first(request: HttpRequest, now: InForce) -> Mapping[str, Any]:
    """Return the body the form begins with: in force, or what the address names."""
    asked = request.GET
    if pk := asked.get(TRIED):
        return _simulation(now, _uuid(pk)).body
    if asked.get("use") == ESTIMATED and (found := policy_page.estimate(now.service)):
        return {**now.body, "pd_ratio": found.ratio, "target": found.target}
    return now.body


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as fault:
        raise Http404(f"{text} is no simulation.") from fault


def _adopt(request: HttpRequest, now: InForce) -> HttpResponse:
    people.require(request.user, people.EDIT_POLICY, now.service)
    form = PolicyForm(request.POST, body=now.body, opened=now.revision)
    if not form.is_valid():
        return _render(request, now, form, Told(400))
    opened = form.cleaned_data["opened"]
    try:
        policy = policy_edits.adopt(
            now.service,
            form.body(),
            opened=opened,
            user=request.user,  # type: ignore[arg-type]
            reason=form.cleaned_data["reason"],
        )
    except InvalidError as fault:
        form.refuse(fault.field, str(fault))
        return _render(request, now, form, Told(400))
    except ConflictError as conflict:
        return _overtaken(request, now.service.slug, opened, str(conflict))
    messages.success(
        request, f"Adopted: revision {policy.revision} is in force from the next tick on."
    )
    return redirect("service-policy", slug=now.service.slug)


def _overtaken(request: HttpRequest, slug: str, opened: int, conflict: str) -> HttpResponse:
    """Show what was typed on top of the revision that came first, and what both changed."""
    now = _in_force(slug)
    merged = _merged(request, now, opened)
    merged.sent["opened"] = str(now.revision)
    form = PolicyForm(merged.sent, body=now.body, opened=now.revision)
    return _render(request, now, form, Told(409, conflict, merged))


def _merged(request: HttpRequest, now: InForce, opened: int) -> Merged:
    """Return what was sent on top of what is in force, if that isn't what the form began with."""
    if opened == now.revision:
        return Merged(request.POST.copy())
    seen = policy_page.body_of_revision(now.service, opened)
    return merge(request.POST, opened=seen, in_force=now.body)


def _opened(request: HttpRequest, now: InForce) -> int:
    """Return the revision a form was opened on; one that says none is of what is in force."""
    text = request.POST.get("opened", "")
    return int(text) if text.isdecimal() and len(text) <= LONGEST_REVISION else now.revision


@shell.page("GET", "POST")
def check(request: HttpRequest, slug: str) -> HttpResponse:
    """Say what the form would change and what is wrong with it; nothing is saved."""
    if request.method != "POST":
        return redirect("service-policy", slug=slug)
    now = _in_force(slug)
    opened = _opened(request, now)
    merged = _merged(request, now, opened)
    form = PolicyForm(merged.sent, body=now.body, opened=now.revision)
    status = 200 if form.is_whole else 400
    if not request.headers.get("HX-Request"):
        return _render(request, now, form, Told(status))
    values = {
        "form": form,
        "service": now.service,
        "now": timezone.now(),
        "in_force": now,
        "overtaken": opened != now.revision,
    }
    values |= _compared(now, form)
    return render(request, "controller/_policy_checked.html", values, status=status)


@shell.page("GET", "POST")
def windows(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the form with a window more or less; to htmx only the windows."""
    if request.method != "POST":
        return redirect("service-policy", slug=slug)
    now = _in_force(slug)
    more = 1 if "add" in request.POST else 0
    form = PolicyForm(request.POST, body=now.body, opened=now.revision, more_windows=more)
    status = 200 if form.is_whole else 400
    if request.headers.get("HX-Request"):
        values = {"form": form, "service": now.service, "now": timezone.now()}
        response = render(request, "controller/_policy_windows.html", values, status=status)
        response["HX-Trigger-After-Swap"] = "windows-changed"
        return response
    return _render(request, now, form, Told(status))


@shell.page("GET", "POST")
def simulate(request: HttpRequest, slug: str) -> HttpResponse:
    """Queue a backtest of what the form says beside what is in force."""
    if request.method != "POST":
        return redirect("service-policy", slug=slug)
    people.require(request.user, people.BACKTEST)
    now = _in_force(slug)
    form = PolicyForm(request.POST, body=now.body, opened=now.revision)
    trial = _trial(request.POST, now)
    if not form.is_valid() or not trial.is_valid():
        return _render(request, now, form, Told(400), trial)
    return _queued(request, now, form, trial)


@shell.page("GET", "POST")
def curate(request: HttpRequest, slug: str) -> HttpResponse:
    """Queue a backtest that finds ratio, targets and policy for the load (HeteroScale §4.6).

    What else is typed into the form has no say in it.
    """
    if request.method != "POST":
        return redirect("service-policy", slug=slug)
    people.require(request.user, people.BACKTEST)
    now = _in_force(slug)
    trial = _trial(request.POST, now)
    if trial.is_valid() and not trial.cleaned_data["gpus"]:
        trial.refuse("gpus", "Say how many GPUs there are to split between the roles.")
    if not trial.is_valid():
        form = PolicyForm(request.POST, body=now.body, opened=now.revision)
        return _render(request, now, form, Told(400), trial)
    return _queued(request, now, None, trial)


def _queued(
    request: HttpRequest, now: InForce, form: PolicyForm | None, trial: TrialForm
) -> HttpResponse:
    """Queue what is to be simulated; without a checked form it is a curation.

    What is in force is played in both.
    """
    status = 400
    try:
        body = form.body() if form else now.body
        before = now.body if now.revision else body
        labels = policy_trial.labels(before, body) if form else policy_trial.label_in_force(now)
        asking = trial.asking(list(dict.fromkeys(labels.values())))
        if asking is not None:
            asked = asking.asked() | policy_trial.remembered(now, body, labels)
            asked |= {DOCUMENTS: policy_trial.documents(before, body)}
            if form is None:
                asked |= policy_trial.curation_of(now, trial.cleaned_data["gpus"])
            load = backtest_form.load_of(asking.cleaned_data, timezone.now())
            backtest_load.check(asked, load, wiring.backtest_sources())
            key = asking.cleaned_data["key"]
            made = backtest_service.ask(key, asked=asked, load=load, user=request.user)
            address = reverse("service-policy", args=[now.service.slug])
            return redirect(f"{address}?{urlencode({TRIED: made.pk})}#simulation")
    except QuestionError as fault:
        trial.refuse(fault.where, fault.message)
    except (TooManyError, ConflictError) as fault:
        trial.refuse("", str(fault))
        status = 429 if isinstance(fault, TooManyError) else 409
    form = form or PolicyForm(request.POST, body=now.body, opened=now.revision)
    return _render(request, now, form, Told(status), trial)


@shell.page("GET")
def simulation(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """Show how a simulation stands; asked any other way than by htmx, the whole tab."""
    now = _in_force(slug)
    if not request.headers.get("HX-Request"):
        address = reverse("service-policy", args=[slug])
        return redirect(f"{address}?{urlencode({TRIED: pk})}")
    shown = _simulation(now, pk)
    values = {"simulation": shown, "service": now.service, "now": timezone.now()}
    values |= _may(request, now.service)
    return fragments.answer(
        request, "controller/_policy_simulation.html", values, state=shown.found.state
    )


@shell.page("GET", "POST")
def revert(request: HttpRequest, slug: str, revision: int) -> HttpResponse:
    """Save an earlier revision's policy as the next one."""
    if request.method != "POST":
        return redirect("service-policy", slug=slug)
    now = _in_force(slug)
    opened = request.POST.get("opened", "")
    try:
        policy = policy_edits.revert(
            now.service,
            revision,
            opened=int(opened) if opened.isdecimal() and len(opened) <= LONGEST_REVISION else -1,
            user=request.user,  # type: ignore[arg-type]
            reason=request.POST.get("reason", ""),
        )
    except (InvalidError, ConflictError) as fault:
        status = 409 if isinstance(fault, ConflictError) else 400
        now = _in_force(slug)
        form = PolicyForm(body=now.body, opened=now.revision)
        return _render(request, now, form, Told(status, revert=revision, revert_fault=str(fault)))
    messages.success(
        request, f"Reverted: revision {policy.revision} has the policy of revision {revision}."
    )
    return redirect("service-policy", slug=slug)


def _in_force(slug: str) -> InForce:
    found = policy_page.in_force(slug)
    if found is None:
        raise Http404(f"There is no service {slug}.")
    return found


def _simulation(now: InForce, pk: UUID) -> policy_page.Simulation:
    found = policy_page.simulation(now.service, pk, timezone.now())
    if found is None:
        raise Http404(f"{now.service.slug} has no simulation {pk}.")
    return found


def _may(request: HttpRequest, service: Service) -> dict[str, Any]:
    rights = rights_of(request)
    return {
        "may_edit": rights.may(people.EDIT_POLICY, service),
        "may_try": rights.may(people.BACKTEST),
    }


def _trial(data: Mapping[str, Any] | None, now: InForce) -> TrialForm:
    return TrialForm(data, now=now, profiles=list(wiring.backtest_sources().profiles))


def _compared(now: InForce, form: PolicyForm) -> dict[str, Any]:
    # Only a checked form knows what was typed as values.
    is_usable = form.is_valid()
    body = form.body() if form.is_bound else form.first
    return {
        "differences": differences(now.body, body) if now.revision else (),
        "wrong": form.wrong if form.is_bound and not is_usable else (),
        "capped": form.windows.beyond(policy_page.most(now.service)),
    }


def _render(
    request: HttpRequest,
    now: InForce,
    form: PolicyForm,
    outcome: Told | None = None,
    trial: TrialForm | None = None,
) -> HttpResponse:
    outcome = outcome or Told()
    at = timezone.now()
    may = _may(request, now.service)
    values: dict[str, Any] = {
        "now": at,
        "service": now.service,
        "in_force": now,
        "form": form,
        "suggestion": suggestions.open_of(now.service, now=at),
        "outcome": outcome,
        "revisions": policy_page.revisions(now),
        "estimate": policy_page.estimate(now.service),
        **_compared(now, form),
    } | may
    if any(may.values()):
        values["trial"] = trial or _trial(None, now)
    else:
        values["facts"] = _facts(now)
    if pk := request.GET.get(TRIED):
        values["simulation"] = _simulation(now, _uuid(pk))
    return render(request, "controller/policy.html", values, status=outcome.status)


def _used(now: InForce) -> dict[str, str]:
    """Return what is in use in place of a field that follows the workload, in words."""
    used = in_use(now.service)
    if used is None:
        return {}
    return {
        "target": f"; in use {wording.number(used.target)}",
        "pd_ratio": f"; in use {wording.ratio(used.pd_ratio)}",
    }


def _facts(now: InForce) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the policy in words, group by group, for those who may only read it."""
    used = _used(now)
    return [
        (
            group.title,
            [
                (
                    field.label,
                    told(field, now.body[field.name]) + used.get(field.name, ""),
                    field.meaning,
                )
                for field in (POLICY_FIELDS[name] for name in group.names if name in now.body)
            ],
        )
        for group in GROUPS
        if any(name in now.body for name in group.names)
    ]
