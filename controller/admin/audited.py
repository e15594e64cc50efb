"""What saving in the administration leaves in the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from controller.services import audit

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    # Django's class takes no parameter while the program runs.
    AnyModelAdmin = admin.ModelAdmin


class AuditedRemoval(AnyModelAdmin):
    """Records each row that is removed, one by one or many at once."""

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:  # noqa: ANN401 - Django's
        """Audit before the rows are gone."""
        audit.record_each(
            [(row, {"name": str(row)}, {}) for row in queryset],
            actor=user_of(request).get_username(),
            verb="removed",
        )
        return super().log_deletions(request, queryset)


def user_of(request: HttpRequest) -> User:
    """Return who is signed in."""
    return cast("User", request.user)


def record(request: HttpRequest, obj: Model, form: forms.BaseForm, *, added: bool) -> None:
    """Record what a form changed, with the values before and after."""
    changed = form.changed_data
    if not (changed or added):
        return
    audit.record(
        actor=user_of(request).get_username(),
        verb="added" if added else "changed",
        obj=obj,
        before={} if added else {name: _plain(form.initial.get(name)) for name in changed},
        after={name: _plain(form.cleaned_data.get(name)) for name in changed},
    )


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None | dict) else str(value)
