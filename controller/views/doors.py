"""What administrators see and do at the door: locks, sessions and second factors of people."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from controller.core.phrases import plural
from controller.selectors import doors
from controller.services import people, second_factor, sessions, throttle
from controller.services.errors import ConflictError, ForbiddenError, MissingError
from controller.views import fresh, shell

LONGEST_QUERY = 150


@shell.page("GET")
def page(request: HttpRequest) -> HttpResponse:
    """Show what is shut and who is signed in."""
    if not people.may(request.user, people.PEOPLE):
        # Looking is no attempt to change anything, so it leaves no trace in the audit.
        raise ForbiddenError(f"You may not see this: {people.NEEDS[people.PEOPLE]}.")
    query = request.GET.get("q", "").strip()[:LONGEST_QUERY]
    values = {"locks": doors.read_locks(), "people": doors.read_people(query), "query": query}
    return render(request, "controller/doors.html", values)


@shell.page("POST")
@fresh.needed
def lift(request: HttpRequest, key: str) -> HttpResponse:
    """Open a door again."""
    throttle.lift(key, user=request.user)
    messages.success(request, "The lock is lifted.")
    return redirect("doors")


@shell.page("POST")
@fresh.needed
def end_sessions(request: HttpRequest, name: str) -> HttpResponse:
    """End the sessions of a person; one's own goes on."""
    ended = sessions.end_all(
        _account(request, name), user=request.user, but=request.session.session_key
    )
    messages.success(request, f"{plural(ended, 'session')} of {name} ended.")
    return redirect("doors")


@shell.page("POST")
@fresh.needed
def reset_factor(request: HttpRequest, name: str) -> HttpResponse:
    """Take the second factor of a person away, who lost it."""
    try:
        second_factor.remove(_account(request, name), user=request.user)
        messages.success(request, f"{name} signs in with the password alone now.")
    except (ConflictError, MissingError) as refusal:
        messages.error(request, str(refusal))
    return redirect("doors")


def _account(request: HttpRequest, name: str) -> User:
    people.require(request.user, people.PEOPLE)
    found = doors.account_named(name)
    if found is None:
        raise Http404(f"There is no account {name}.")
    return found
