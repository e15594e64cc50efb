"""What a form held when it could not be taken: kept on the page, and sent again by a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

SALT: Final = "kept form"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
NEVER: Final = frozenset({"csrfmiddlewaretoken", "code", "kept", "next"})
SECRET: Final = ("password", "secret", "private_key")
"""What a field's name holds whose value is never put on a page."""
MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A form that was sent: to which address, its fields in order, and whether files are gone."""

    path: str
    fields: tuple[tuple[str, str], ...]
    lost_files: bool = False

    @classmethod
    def of(cls, request: HttpRequest) -> Kept:
        """Return what the request holds; passwords, codes and other secrets left out."""
        fields = tuple(
            (name, value)
            for name, values in request.POST.lists()
            if name not in NEVER and not any(word in name.lower() for word in SECRET)
            for value in values
        )
        return cls(request.get_full_path(), fields, bool(request.FILES))

    @classmethod
    def unpacked(cls, text: str) -> Kept | None:
        """Return what :attr:`packed` gave; ``None`` for anything else, or when it is too old."""
        try:
            path, fields, lost = signing.loads(text, salt=SALT, max_age=settings.SESSION_S)
        except signing.BadSignature:
            return None
        return cls(path, tuple((name, value) for name, value in fields), lost)

    @property
    def packed(self) -> str:
        """The form as one signed text: nobody else can have a form of theirs sent."""
        parts = (self.path, self.fields, self.lost_files)
        return signing.dumps(parts, salt=SALT, compress=True)

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        """The fields a person reads before sending them again; empty ones say nothing."""
        return tuple(pair for pair in self.fields if pair[1])[:MOST_SHOWN]

    @property
    def more(self) -> int:
        """How many more fields there are."""
        return sum(1 for pair in self.fields if pair[1]) - len(self.shown)


def again(request: HttpRequest, kept: Kept, why: str) -> HttpResponse:
    """Show what was kept, with the button that sends it; nothing is sent by itself."""
    return render(request, "controller/kept.html", {"kept": kept, "why": why})


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """Ask a person whose session ended to sign in; what the form held comes along."""
    kept = Kept.of(request)
    values = {"kept": kept, "next": "/", "provider": settings.OIDC_NAME}
    return render(request, "controller/sign_in.html", values, status=403)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a form without a token of this session; one of our own pages gets it back."""
    del reason
    if request.path == reverse("sign-in") or not _is_ours(request):
        return render(request, "403_csrf.html", status=403)
    if not request.user.is_authenticated:
        return sign_in_first(request)
    answer = again(request, Kept.of(request), "It was opened before the last sign-in.")
    answer.status_code = 403
    return answer


def _is_ours(request: HttpRequest) -> bool:
    """Return whether the browser says that a page of this very origin sent the form."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"
