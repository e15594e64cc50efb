"""What a person may do and through what, and the roles that are given within a scope."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.forms import NO_REASON
from controller.selectors import grants, scopes
from controller.services import granting, people
from controller.services.accounts import ROLES
from controller.services.errors import ConflictError, ForbiddenError, InvalidError
from controller.services.rights import RIGHTS
from controller.views import fresh, shell
from controller.views.chrome import read_chrome, rights_of

TABS = (("now", "In force"), ("over", "Over"))


class Through(NamedTuple):
    """Where somebody has a right, and what gives it; ``until`` where it ends."""

    where: str
    what: str
    until: datetime | None = None


class Line(NamedTuple):
    """One right in words, and everything that gives it."""

    word: str
    needs: str
    through: tuple[Through, ...]


@shell.page("GET")
def mine(request: HttpRequest) -> HttpResponse:
    """Show what one may do; who may grant roles may look at another person's."""
    user = cast("User", request.user)
    name = request.GET.get("user", "")
    if name and name != user.get_username():
        if not rights_of(request).somewhere(people.GRANT):
            raise ForbiddenError("Looking at another person's rights needs the role Admin.")
        found = grants.person(name)
        if found is None:
            raise Http404(f"There is nobody called {name}.")
        user = found
    now = timezone.now()
    values = {"now": now, "person": user, "is_own": user == request.user}
    return render(request, "controller/access.html", values | {"lines": _lines(user, now)})


def _lines(user: User, now: datetime) -> list[Line]:
    given = grants.everywhere(user)
    held = grants.of_person(user, now)
    found = []
    for right, word in RIGHTS.items():
        through = [Through("everywhere", "superuser")] if user.is_superuser else []
        through += [Through("everywhere", what) for what in given.get(right, ())]
        through += [
            Through(one.scope, f"{one.role}, granted by {one.by_name}", one.expires_at)
            for one in held
            if right in ROLES.get(one.role, ())
        ]
        shown = tuple(through) if user.is_active else ()
        found.append(Line(word, people.NEEDS[right], shown))
    return found


class GrantForm(forms.Form):
    """A role of a person within a scope."""

    user = forms.CharField(
        label="Person",
        max_length=150,
        widget=forms.TextInput(attrs={"list": "people", "autocomplete": "off"}),
    )
    role = forms.ChoiceField(label="Role", choices=[(name, name) for name in ROLES])
    expires_at = forms.DateTimeField(
        label="Until",
        required=False,
        help_text="In your time zone; empty: until somebody ends it.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        error_messages={"invalid": "Use a time such as 2026-03-01 03:40."},
    )
    reason = forms.CharField(
        label="Reason",
        max_length=1000,
        error_messages={"required": NO_REASON},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - a form's own
        super().__init__(*args, **kwargs)
        self.fields["scope"] = forms.ChoiceField(label="Within", choices=scopes.choices())
        self.order_fields(["user", "role", "scope", "expires_at", "reason"])

    def clean_user(self) -> User:
        """Return the person of that name."""
        found = grants.person(self.cleaned_data["user"])
        if found is None:
            raise forms.ValidationError("There is nobody of that name.")
        return found


class EndForm(forms.Form):
    """Why a role is taken back."""

    reason = forms.CharField(max_length=1000, error_messages={"required": NO_REASON})


@shell.page("GET", "POST")
@fresh.needed
def index(request: HttpRequest) -> HttpResponse:
    """List the roles within scopes, or grant one."""
    if request.method != "POST":
        return _list(request, GrantForm(initial={"user": request.GET.get("user", "")}))
    form = GrantForm(request.POST)
    with timezone.override(read_chrome(request, timezone.now()).zone):
        is_valid = form.is_valid()
    return _grant(request, form) if is_valid else _list(request, form, status=400)


def _grant(request: HttpRequest, form: GrantForm) -> HttpResponse:
    given = form.cleaned_data
    try:
        made = granting.grant(
            given["user"],
            given["role"],
            scopes.find(given["scope"]),
            reason=given["reason"],
            expires_at=given["expires_at"],
            by=request.user,
        )
    except InvalidError as fault:
        form.add_error(fault.field if fault.field in form.fields else None, str(fault))
        return _list(request, form, status=400)
    except ConflictError as conflict:
        return _list(request, form, status=409, conflict=str(conflict))
    messages.success(request, f"{given['user']} is {made.role} of {made.scope} from now on.")
    return redirect("grants")


def _list(
    request: HttpRequest, form: GrantForm, *, status: int = 200, conflict: str = ""
) -> HttpResponse:
    now = timezone.now()
    tab = "over" if request.GET.get("tab") == "over" else "now"
    rights = rights_of(request)
    found = grants.over(now) if tab == "over" else grants.in_force(now)
    values = {
        "now": now,
        "tab": tab,
        "tabs": TABS,
        "rows": [(one, rights.may(people.GRANT, one.about)) for one in found],
        "form": form,
        "conflict": conflict,
        "may": rights.somewhere(people.GRANT),
        "names": grants.names(),
        "needs": people.NEEDS[people.GRANT],
    }
    return render(request, "controller/grants.html", values, status=status)


@shell.page("GET", "POST")
@fresh.needed
def end(request: HttpRequest, pk: int) -> HttpResponse:
    """Say what taking a role back means, or take it back."""
    if request.method != "POST":
        return _end(request, pk)
    form = EndForm(request.POST)
    if not form.is_valid():
        return _end(request, pk, form=form, status=400)
    try:
        done = granting.end(pk, reason=form.cleaned_data["reason"], by=request.user)
    except ConflictError as conflict:
        return _end(request, pk, form=form, status=409, conflict=str(conflict))
    messages.success(request, f"{done.user} is no longer {done.role} of {done.scope}.")
    return redirect("grants")


def _end(
    request: HttpRequest,
    pk: int,
    *,
    form: EndForm | None = None,
    status: int = 200,
    conflict: str = "",
) -> HttpResponse:
    found = grants.find(pk)
    if found is None:
        raise Http404(f"There is no grant {pk}.")
    values = {
        "grant": found,
        "form": form or EndForm(),
        "conflict": conflict,
        "may": rights_of(request).may(people.GRANT, found.about),
        "needs": people.NEEDS[people.GRANT],
    }
    return render(request, "controller/grant_end.html", values, status=status)
