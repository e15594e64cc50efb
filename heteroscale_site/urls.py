"""Every address begins here."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import include, path
from django.views.generic import RedirectView

from heteroscale_site.oidc.views import FromProvider, ToProvider


def admin_door(request: HttpRequest) -> HttpResponseBase:
    """Send strangers to the sign-in page; who is signed in already lacks the right."""
    if request.user.is_authenticated:
        raise PermissionDenied
    return RedirectView.as_view(url=settings.LOGIN_URL, query_string=True)(request)


handler400 = "heteroscale_site.errors.bad_request"
handler500 = "heteroscale_site.errors.server_error"

urlpatterns = [
    # The administration has no door of its own: there is one sign-in page.
    path("admin/login/", admin_door),
    path("admin/", admin.site.urls),
    path("sign-in/provider/", ToProvider.as_view(), name="sign-in-provider"),
    path("sign-in/provider/back/", FromProvider.as_view(), name="sign-in-provider-back"),
    path("queue/", include("django_rq.urls")),
    path("", include("controller.urls")),
]
