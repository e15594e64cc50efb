"""The rules that let proposals through by themselves: a list, and each with its revisions."""

from __future__ import annotations

from typing import Final, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.core.approval_rules import Direction, Rule, Within
from controller.selectors import approval_rules as selectors
from controller.selectors import scopes
from controller.services import approval_rules, people
from controller.services.approval_rules import Named
from controller.services.errors import ConflictError, InvalidError
from controller.views import fresh, shell
from controller.views.chrome import rights_of

FIELDS: Final = {"most_frac": "most_percent"}
"""Fields of the form by what the service calls them, where the two differ."""


@shell.page("GET", "POST")
@fresh.needed
def index(request: HttpRequest) -> HttpResponse:
    """List the rules in force, or make one."""
    if request.method != "POST":
        return _show(request, "", forms.RuleForm(scopes=scopes.choices()))
    return _save(request, "")


@shell.page("GET", "POST")
@fresh.needed
def page(request: HttpRequest, name: str) -> HttpResponse:
    """Show one rule with its revisions, or save the next one."""
    found = selectors.revisions(name)
    if not found:
        raise Http404(f"There is no rule {name}.")
    if request.method != "POST":
        began = forms.RuleForm(scopes=scopes.choices(), initial=found[0].plain)
        return _show(request, name, began)
    return _save(request, name)


def _save(request: HttpRequest, name: str) -> HttpResponse:
    form = forms.RuleForm(request.POST, scopes=scopes.choices())
    if not form.is_valid():
        return _show(request, name, form, status=400)
    named = _named(form)
    shown = _tried(request, form, named)
    if shown is not None:
        return _show(request, name, form, status=400 if form.errors else 200, tried=shown)
    return _saved(request, name, form, named)


def _saved(request: HttpRequest, name: str, form: forms.RuleForm, named: Named) -> HttpResponse:
    user, reason = cast("User", request.user), form.cleaned_data["reason"]
    try:
        made = approval_rules.save(named, user=user, reason=reason)
    except InvalidError as fault:
        field = FIELDS.get(fault.field, fault.field)
        form.add_error(field if field in form.fields else None, str(fault))
        return _show(request, name, form, status=400)
    except ConflictError as conflict:
        return _show(request, name, form, status=409, conflict=str(conflict))
    messages.success(request, f"Rule {made} holds from now on.")
    return redirect("approval-rule", name=made.name)


def _tried(request: HttpRequest, form: forms.RuleForm, named: Named) -> str | None:
    """Return what the rule would have let through, where that is to be read before it is saved.

    That is when it is asked for, and for a rule of any size that nobody confirmed.
    """
    is_any_size = named.is_enabled and not named.rule.is_sized
    lacks = is_any_size and not form.cleaned_data["is_unlimited"]
    if not lacks and request.POST.get("verb") != "try":
        return None
    told = selectors.tried(named.rule, named.about, timezone.now()).words
    if lacks:
        form.add_error("is_unlimited", f"{told} Tick this, or give a limit.")
    return told


def _named(form: forms.RuleForm) -> Named:
    given = form.cleaned_data
    percent = given["most_percent"]
    rule = Rule(
        direction=Direction(given["direction"]),
        most_gpus=given["most_gpus"],
        most_frac=None if percent is None else percent / 100,
        days=tuple(given["days"]),
        begin=given["from_time"],
        end=given["until_time"],
        time_zone=given["time_zone"],
        within=Within(given["within"]),
    )
    about = scopes.find(given["scope"])
    return Named(given["name"], rule, about, given["opened"], given["is_enabled"])


def _show(
    request: HttpRequest,
    name: str,
    form: forms.RuleForm,
    *,
    status: int = 200,
    **told: str,
) -> HttpResponse:
    if name:
        form.fields["name"].widget.attrs["readonly"] = True
    values = {
        "name": name,
        "rules": selectors.revisions(name) if name else selectors.in_force(),
        "form": form,
        "may": rights_of(request).somewhere(people.RULE),
        "needs": people.NEEDS[people.RULE],
    }
    template = "controller/approval_rule.html" if name else "controller/approval_rules.html"
    return render(request, template, values | told, status=status)
