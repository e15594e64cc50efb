"""Changes that a person asks for: counts by hand, other counts than proposed, a way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from controller import forms
from controller.core import phrases
from controller.core.by_hand import Judged
from controller.core.reasons import Code
from controller.core.types import ROLES, Instances
from controller.core.words import capitalised
from controller.selectors import by_hand, proposals, service_page
from controller.selectors.placed import WOULD, Placed, placed_from
from controller.services import manual, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.rows import needs_of
from controller.views import reading, shell
from controller.views.chrome import rights_of
from inventory.models import Service

if TYPE_CHECKING:
    from controller.models import Action, Proposal


@dataclass(frozen=True, slots=True)
class Look:
    """What would become of a wish, in words; ``fault`` is why that can't be told."""

    service: Service
    judged: Judged | None = None
    fault: str = ""

    @property
    def refusals(self) -> list[str]:
        """What stands against it, beside that nothing would change."""
        found = self.judged.refusals if self.judged else ()
        return [f"{capitalised(one.text)}." for one in found if one.code is not Code.UNCHANGED]

    @property
    def advisory(self) -> str:
        """Who lets it only be observed for a while; empty where nobody does."""
        return self.judged.advisory if self.judged else ""

    @property
    def is_same(self) -> bool:
        """Whether these are the counts of now, as a form that was just opened has them."""
        return self.judged is not None and self.judged.want == self.judged.current

    @property
    def change(self) -> str:
        """The counts before and after."""
        judged = self.judged
        return phrases.counts(judged.current, judged.want) if judged else ""

    @property
    def gpus(self) -> str:
        """The GPUs more or fewer, in words."""
        if self.judged is None:
            return ""
        change = self.judged.change
        per = change.gpus_per_instance
        more = sum(
            (change.after.of(role) - change.before.of(role)) * per.of(role) for role in ROLES
        )
        if not more:
            return "no change in GPUs"
        return f"{phrases.plural(abs(more), 'GPU')} {'more' if more > 0 else 'fewer'}"

    @property
    def ratios(self) -> tuple[float | None, float | None]:
        """Prefill per decode before and after."""
        judged = self.judged
        return (judged.current.pd_ratio, judged.want.pd_ratio) if judged else (None, None)

    @property
    def predicted(self) -> str:
        """The latencies expected now and after it; empty: not told."""
        return proposals.latencies(self.judged.predicted if self.judged else None)

    @property
    def needs(self) -> dict[str, object]:
        """How many people approve it, and why more than one."""
        return dict(needs_of(self.judged.change)) if self.judged else {}

    @property
    def placed(self) -> Placed | None:
        """Where it would go; ``None`` where nothing is placed."""
        plain = self.judged.placement if self.judged else None
        return placed_from(plain, self.service.cluster, WOULD) if plain else None


@shell.page("GET", "POST")
def propose(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what counts by hand would come to, or propose them."""
    service = service_page.find(slug)
    if service is None:
        raise Http404(f"There is no service {slug}.")
    page = _Page(request, service, "propose")
    if request.method != "POST":
        return page.show(page.begin())
    return page.answer(
        lambda want, reason, seen, _version: manual.propose(
            service, manual.Asked(want, reason, seen=seen), user=page.user, look=by_hand.ground
        )
    )


@shell.page("GET", "POST")
def counter(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what other counts than proposed would come to, or propose them instead."""
    card = reading.card_of(request, pk)
    page = _Page(request, card.service, "counter", card)
    if request.method != "POST":
        body = card.proposal
        shown = {"prefill": body.to_prefill, "decode": body.to_decode, "version": body.version}
        return page.show(forms.ChangeForm(shown), is_new=True)
    return page.answer(
        lambda want, reason, _seen, version: manual.counter(
            pk, user=page.user, version=version, want=want, reason=reason, look=by_hand.ground
        )
    )


Act = Callable[[Instances, str, str, int], "Proposal"]
"""Proposes counts for a reason, given the cluster's object and the version that were seen."""


class _Page:
    """The form of counts with what they would come to, for one service and one reader."""

    def __init__(
        self,
        request: HttpRequest,
        service: Service,
        verb: str,
        card: proposals.Card | None = None,
    ) -> None:
        self.request, self.service, self.verb, self.card = request, service, verb, card
        self.user = cast("User", request.user)

    def begin(self) -> forms.ChangeForm:
        """Return the form with the counts of the address, by default those of now."""
        given = {name: self.request.GET.get(name) for name in ("prefill", "decode")}
        try:
            now = by_hand.ground(self.service).ctx.state
        except LookupError:
            return forms.ChangeForm({name: text or "" for name, text in given.items()})
        counts = {role.value: now.desired.of(role) for role in ROLES}
        found = {name: given[name] or counts[name] for name in given}
        return forms.ChangeForm(found | {"seen": now.resource_version})

    def answer(self, act: Act) -> HttpResponse:
        """Look again where that was asked, else propose; a refusal is told in the form."""
        form = forms.ChangeForm(self.request.POST)
        if "look" in self.request.POST or self.request.headers.get("HX-Request"):
            return self.show(form, is_new=True)
        people.require(self.user, people.PROPOSE, self.service)
        return self._propose(form, act) if form.is_valid() else self.show(form, status=400)

    def _propose(self, form: forms.ChangeForm, act: Act) -> HttpResponse:
        given = form.cleaned_data
        want = Instances(given["prefill"], given["decode"])
        try:
            made = act(want, given["reason"], given["seen"], given["version"] or 0)
        except InvalidError as fault:
            form.add_error(fault.field if fault.field in form.fields else None, str(fault))
            return self.show(form, status=400)
        except ConflictError as conflict:
            return self.show(form, status=409, conflict=str(conflict))
        messages.success(self.request, "Proposed: it waits for another person to approve it.")
        return redirect(made)

    def show(
        self,
        form: forms.ChangeForm,
        *,
        status: int = 200,
        is_new: bool = False,
        conflict: str = "",
    ) -> HttpResponse:
        """Answer the page, or to htmx only what the counts come to; ``is_new``: nothing sent."""
        values = {
            "form": form,
            "look": self._look(form),
            "service": self.service,
            "card": self.card,
            "verb": self.verb,
            "is_new": is_new or self.request.method != "POST",
            "conflict": conflict,
            "may": rights_of(self.request).may(people.PROPOSE, self.service),
            "needs": people.NEEDS[people.PROPOSE],
        }
        part = self.request.headers.get("HX-Request")
        template = "controller/_change_look.html" if part else "controller/change.html"
        return render(self.request, template, values, status=status)

    def _look(self, form: forms.ChangeForm) -> Look:
        form.is_valid()
        given = form.cleaned_data
        if "prefill" not in given or "decode" not in given:
            return Look(self.service, fault="Give both counts to see what they come to.")
        try:
            want = Instances(given["prefill"], given["decode"])
            return Look(self.service, by_hand.preview(self.service, want))
        except LookupError as fault:
            return Look(self.service, fault=str(fault))


@shell.page("GET", "POST")
def roll_back(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say what going back to before an action means, or propose it."""
    action = service_page.action(pk)
    if action is None:
        raise Http404(f"There is no action {pk}.")
    if request.method != "POST":
        return _ask_back(request, action)
    people.require(request.user, people.PROPOSE, action)
    form = forms.RollBackForm(request.POST)
    return (
        _go_back(request, action, form)
        if form.is_valid()
        else _ask_back(request, action, form=form, status=400)
    )


def _go_back(request: HttpRequest, action: Action, form: forms.RollBackForm) -> HttpResponse:
    user = cast("User", request.user)
    try:
        made = manual.roll_back(action.pk, user=user, look=by_hand.ground, **form.cleaned_data)
    except InvalidError as fault:
        form.add_error(None, str(fault))
        return _ask_back(request, action, form=form, status=400)
    except ConflictError as conflict:
        return _ask_back(request, action, form=form, status=409, conflict=str(conflict))
    messages.success(request, "Proposed: it waits for another person to approve it.")
    return redirect(made)


def _ask_back(
    request: HttpRequest,
    action: Action,
    *,
    form: forms.RollBackForm | None = None,
    status: int = 200,
    conflict: str = "",
) -> HttpResponse:
    service, want = action.service, Instances(action.from_prefill, action.from_decode)
    try:
        look = Look(service, by_hand.preview(service, want))
    except LookupError as fault:
        look = Look(service, fault=str(fault))
    done = ((action.from_prefill, action.from_decode), (action.to_prefill, action.to_decode))
    values = {
        "form": form or forms.RollBackForm(),
        "look": look,
        "service": service,
        "action": action,
        "change": phrases.counts(*done),
        "conflict": conflict,
        "may": rights_of(request).may(people.PROPOSE, service),
        "needs": people.NEEDS[people.PROPOSE],
    }
    return render(request, "controller/roll_back.html", values, status=status)
