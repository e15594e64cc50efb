"""Sign in and out."""

from django.contrib.auth.views import LoginView, LogoutView


class SignIn(LoginView):
    """The sign-in page."""

    template_name = "controller/sign_in.html"


class SignOut(LogoutView):
    """Ends the session."""

    next_page = "/sign-in/"
