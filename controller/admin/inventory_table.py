"""What every table of the inventory does in the administration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from controller.admin.audited import user_of
from controller.admin.inventory_form import InventoryForm
from controller.services import audit
from inventory.models import InventoryVersion
from inventory.services.domains import derive_domains
from inventory.services.locks import lock_for_edit
from inventory.services.versions import stamp

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    # Django's class takes no parameter while the program runs.
    AnyModelAdmin = admin.ModelAdmin

BY_HAND: Final = "manual"
PLAIN: Final = (str, int, float, bool, type(None), dict, list)


class InventoryAdmin(AnyModelAdmin):
    """A table whose saves are versions of the inventory, audited, and held against imports.

    ``deriving`` are fields whose change may move domains; lists are counted once, searched by the
    database and joined with what they show, so that they stay quick at 10,000 nodes.
    """

    form = InventoryForm
    show_full_result_count = False
    list_per_page = 50
    deriving: tuple[str, ...] = ()

    def get_fields(self, request: HttpRequest, obj: Any | None = None) -> list[Any]:  # noqa: ANN401 - Django's
        """Return the fields with the version that is shown last, and why before it."""
        named = [*super().get_fields(request, obj)]
        kept = [name for name in named if name not in {"seen", "reason"}]
        return [*kept, "reason", *(["seen"] if hasattr(obj, "version") else [])]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401 - Django's
        """Show or save a row; what another save took meanwhile is said, not a failure."""
        try:
            with transaction.atomic():
                if request.method == "POST":
                    lock_for_edit()
                answer: HttpResponse = super().changeform_view(request, *args, **kwargs)
        except IntegrityError:
            text = "Somebody took a name, number or place of this meanwhile: nothing was saved."
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return answer

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,  # noqa: ANN401 - Django's signature
        form: Any,  # noqa: ANN401 - Django's signature
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save as the next version of the row and of the inventory, and audit it."""
        changed = form.changed_fields
        if change and not changed:
            return
        before = self._before(obj, changed) if change else {}
        if change and hasattr(obj, "version"):
            obj.version += 1
        if hasattr(obj, "managed_fields"):
            held = [name for name in changed if name != "reason"]
            obj.managed_fields = {**obj.managed_fields, **dict.fromkeys(held, BY_HAND)}
        super().save_model(request, obj, form, change)
        audit.record(
            actor=user_of(request).get_username(),
            verb="changed" if change else "added",
            obj=obj,
            before=before,
            after={name: plain(getattr(obj, name)) for name in changed},
            reason=form.cleaned_data.get("reason", ""),
        )
        self._stamped(request, [obj], "changed" if change else "added", changed)

    def _before(self, obj: Model, names: list[str]) -> dict[str, Any]:
        old = type(obj)._default_manager.get(pk=obj.pk)  # noqa: SLF001 - public by custom
        return {name: plain(getattr(old, name)) for name in names}

    def delete_model(self, request: HttpRequest, obj: Any) -> None:  # noqa: ANN401 - Django's signature
        """Remove and audit."""
        self._delete(request, [obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Remove and audit each."""
        self._delete(request, list(queryset))

    def _delete(self, request: HttpRequest, rows: list[Any]) -> None:
        with transaction.atomic():
            lock_for_edit()
            clusters = self._clusters(rows)
            audit.record_each(
                [(row, {"name": str(row)}, {}) for row in rows],
                actor=user_of(request).get_username(),
                verb="removed",
            )
            type(rows[0])._default_manager.filter(pk__in=[row.pk for row in rows]).delete()  # noqa: SLF001
            version = self._stamp(request, len(rows), "removed")
            if self.deriving and clusters:
                derive_domains(clusters, version)

    def _stamped(
        self, request: HttpRequest, rows: list[Any], done: str, changed: list[str]
    ) -> None:
        version = self._stamp(request, len(rows), done)
        if set(changed) & set(self.deriving):
            derive_domains(self._clusters(rows), version)

    def _stamp(self, request: HttpRequest, count: int, done: str) -> int:
        words = str(self.model._meta.verbose_name_plural)  # noqa: SLF001 - public by custom
        by = user_of(request).get_username()
        return stamp(InventoryVersion.Cause.EDIT, by, counts={f"{words} {done}": count})

    def _clusters(self, rows: list[Any]) -> tuple[str, ...]:
        """Return the clusters whose domains rows may be part of."""
        return tuple(sorted({row.cluster.slug for row in rows if hasattr(row, "cluster")}))


def plain(value: object) -> object:
    """Return a value as the audit keeps it."""
    return value if isinstance(value, PLAIN) else str(value)
