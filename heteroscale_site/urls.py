"""Every address begins here."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

handler400 = "heteroscale_site.errors.bad_request"
handler500 = "heteroscale_site.errors.server_error"

urlpatterns = [
    # The administration has no door of its own: there is one sign-in page.
    path("admin/login/", RedirectView.as_view(url=settings.LOGIN_URL, query_string=True)),
    path("admin/", admin.site.urls),
    path("queue/", include("django_rq.urls")),
    path("", include("controller.urls")),
]
