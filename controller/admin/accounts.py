"""Accounts and roles, audited: who may do what before and after, and never a password."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from controller.admin.audited import AuditedRemoval, user_of
from controller.services import audit

if TYPE_CHECKING:
    UserModelAdmin = UserAdmin[User]
else:
    # Django's class takes no parameter while the program runs.
    UserModelAdmin = UserAdmin

PASSWORD_PAGE = "auth_user_password_change"  # noqa: S105 - the name of a page


class _AuditedChange(AuditedRemoval):
    """Records what a form changed, relations included."""

    def save_related(
        self,
        request: HttpRequest,
        form: Any,  # noqa: ANN401 - Django's signature
        formsets: Any,  # noqa: ANN401 - Django's signature
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save and audit."""
        super().save_related(request, form, formsets, change)
        names = [name for name in form.changed_data if "password" not in name]
        if names or not change:
            audit.record(
                actor=user_of(request).get_username(),
                verb="changed" if change else "added",
                obj=form.instance,
                before={name: _plain(form.initial.get(name)) for name in names if change},
                after={name: _plain(form.cleaned_data.get(name)) for name in names},
            )


def _plain(value: object) -> object:
    if isinstance(value, str | bool | None):
        return value
    return sorted(map(str, value)) if isinstance(value, Iterable) else str(value)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class AccountAdmin(_AuditedChange, UserModelAdmin):
    """Accounts."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:  # noqa: ANN401 - Django's
        """Audit a new password too, which is set on a page of its own."""
        match = request.resolver_match
        if match is not None and match.url_name == PASSWORD_PAGE:
            audit.record(
                actor=user_of(request).get_username(), verb="changed the password", obj=obj
            )
        return super().log_change(request, obj, message)


@admin.register(Group)
class RoleAdmin(_AuditedChange, GroupAdmin):
    """Roles."""
