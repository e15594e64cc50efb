"""A decision made again with other values: nothing is stored, and nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.core.decide import decide
from controller.core.decision_plain import DocumentError, context_from
from controller.selectors import replay, replay_steps
from controller.selectors.replay import NOW, THEN, NoReplayError, Replayable
from controller.selectors.replay_steps import Beside
from controller.views import shell
from controller.views.replay_form import ReplayForm, knobs_of


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What the recorded values give today, or why they can't be used."""

    found: Beside | None
    fault: str = ""


@shell.page("GET")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the decision beside the one that follows from the values of the address."""
    policy = NOW if request.GET.get("policy") == NOW else THEN
    try:
        found = replay.replayable(pk, policy)
        base = replay.replayable(pk, THEN) if policy == NOW else found
    except NoReplayError as fault:
        values = {"pk": pk, "fault": str(fault), "now": timezone.now()}
        return render(request, "controller/replay.html", values, status=409)
    if found is None or base is None:
        raise Http404(f"There is no decision {pk}.")
    form = ReplayForm(request.GET, knobs_of(found))
    beside = _again(found, form)
    now = timezone.now()
    values = {
        "pk": pk,
        "found": found,
        "goes_on": found.goes_on(now),
        "decision": found.decision,
        "form": form,
        "beside": beside,
        "unchanged": _unchanged(base),
        "policy": policy,
        "other_revision": found.now if policy == THEN else found.then,
        "other": _query(form, THEN if policy == NOW else NOW),
        "permalink": _query(form, policy),
        "is_changed": bool(form.changed) or found.revision != base.revision,
        "now": now,
    }
    return render(request, "controller/replay.html", values, status=200 if beside else 400)


def _again(found: Replayable, form: ReplayForm) -> Beside | None:
    """Return both decisions; ``None`` where a value can't be used, which the form then says."""
    try:
        replayed = decide(context_from(form.document(found.document)))
    except DocumentError as fault:
        form.refuse(fault.where, str(fault))
        return None
    return replay_steps.beside(found.decision, replayed)


def _unchanged(base: Replayable) -> Unchanged:
    try:
        return Unchanged(replay_steps.beside(base.decision, decide(context_from(base.document))))
    except DocumentError as fault:
        return Unchanged(None, f"{fault.where}: {fault}")


def _query(form: ReplayForm, policy: str) -> str:
    """Return an address with the changes alone."""
    asked: dict[str, Any] = dict(form.changed)
    return urlencode(({"policy": policy} if policy == NOW else {}) | asked)
