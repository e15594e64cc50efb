"""Sign in and out."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView

WRONG: Final = "Name and password do not match an account. Both tell capitals apart."


class SignInForm(AuthenticationForm):
    """A name and a password; the refusal is the same whether the name exists or not."""

    error_messages = {"invalid_login": WRONG, "inactive": WRONG}  # noqa: RUF012 - Django's way

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        super().__init__(*args, **kwargs)
        if self.errors:
            for field in self.fields.values():
                field.widget.attrs |= {"aria-invalid": "true", "aria-describedby": "sign-in-error"}


class SignIn(LoginView):
    """The sign-in page; afterwards the page that was asked for, never another host's."""

    template_name = "controller/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True


class SignOut(LogoutView):
    """Ends the session."""

    next_page = "/sign-in/"
