"""The views of the table of nodes that the reader keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from controller.selectors.saved_views import plain
from controller.services import saved_views
from controller.services.errors import ConflictError, InvalidError
from controller.views import shell

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@shell.page("POST")
def change(request: HttpRequest) -> HttpResponse:
    """Keep the filters under a name, rename a view or remove it; then show the table again."""
    query = plain(request.POST.get("query", "")[:4_000])
    try:
        said = _done(request, cast("User", request.user), query)
        messages.success(request, said)
    except (InvalidError, ConflictError) as fault:
        messages.error(request, f"Nothing was changed: {fault}")
    return redirect(f"{reverse('fleet')}?{query}" if query else reverse("fleet"))


def _done(request: HttpRequest, user: User, query: str) -> str:
    """Do what the pressed button says and return the words for it."""
    name, verb = request.POST.get("name", ""), request.POST.get("verb", "save")
    given = request.POST.get("view", "")
    pk = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0  # noqa: PLR2004
    if verb == "rename":
        return f"The view is called {saved_views.rename(user, pk, name).name} now."
    if verb == "remove":
        return f"The view {saved_views.remove(user, pk)} was removed."
    return f"Kept as {saved_views.save(user, name, query).name}."
