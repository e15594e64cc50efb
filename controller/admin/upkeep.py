"""Health events, and reservations with the nodes they hold."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from controller.admin.audited import user_of
from controller.admin.inventory_form import InventoryForm
from controller.admin.inventory_table import InventoryAdmin
from controller.services import audit
from inventory.models import HealthEvent, Reservation, ReservedNode
from inventory.services.reservations import settle

if TYPE_CHECKING:
    HeldFormSet = forms.BaseInlineFormSet[ReservedNode, Reservation, forms.ModelForm[ReservedNode]]
    HeldTable = admin.TabularInline[ReservedNode, Reservation]
else:
    # Django's classes take no parameters while the program runs.
    HeldFormSet, HeldTable = forms.BaseInlineFormSet, admin.TabularInline


@admin.register(HealthEvent)
class HealthEventAdmin(InventoryAdmin):
    """What went wrong with one part."""

    list_display = (
        "code",
        "severity",
        "node",
        "gpu",
        "switch",
        "nic",
        "started",
        "ended",
        "source",
    )
    list_filter = ("severity", ("ended", admin.EmptyFieldListFilter))
    list_select_related = ("node", "gpu", "switch", "nic")
    search_fields = ("code", "detail", "node__name", "switch__name", "gpu__node__name")
    raw_id_fields = ("node", "gpu", "switch", "nic")


class HeldNodes(HeldFormSet):
    """The nodes of a reservation: of its cluster, each promised to nobody else at the time."""

    def clean(self) -> None:
        """Refuse a node of another cluster, and one that is held, naming for whom."""
        super().clean()
        given: Reservation = self.instance
        begins: datetime | None = given.begins
        if begins is None or (given.ends and given.ends <= begins):
            # The form of the reservation itself says so.
            return
        for form in self.forms:
            node = form.cleaned_data.get("node") if hasattr(form, "cleaned_data") else None
            if node is not None and (text := self._refusal(given, node)):
                form.add_error("node", text)

    @staticmethod
    def _refusal(given: Reservation, node: Any) -> str:  # noqa: ANN401 - a row of a form
        if node.cluster_id != given.cluster_id:
            return f"{node} belongs to another cluster."
        overlapping = Q(ends=None) | Q(ends__gt=given.begins)
        if given.ends is not None:
            overlapping &= Q(begins__lt=given.ends)
        rows = ReservedNode.objects.filter(overlapping, node=node).exclude(reservation_id=given.pk)
        held = rows.select_related("reservation").first()
        if held is None:
            return ""
        until = f" to {held.ends:%d %b %H:%M} UTC" if held.ends else ""
        return f"It is held for {held.reservation.owner} from {held.begins:%d %b %H:%M}{until}."


class HeldInline(HeldTable):
    """Nodes it holds."""

    model = ReservedNode
    formset = HeldNodes
    autocomplete_fields = ("node",)
    fields = ("node",)
    extra = 1
    can_delete = False

    def has_change_permission(self, _request: HttpRequest, _obj: Any | None = None) -> bool:  # noqa: ANN401 - Django's
        """Return False: a node is held or not; end the reservation and make another."""
        return False


class ReservationForm(InventoryForm):
    """A reservation, whose reason is a field of its own."""

    reason = forms.CharField(max_length=1000, strip=True)

    @property
    def changed_fields(self) -> list[str]:
        """The fields of the row that were changed."""
        return [name for name in self.changed_data if name != "seen"]


@admin.register(Reservation)
class ReservationAdmin(InventoryAdmin):
    """Nodes held for somebody for a time."""

    form = ReservationForm
    list_display = ("owner", "cluster", "begins", "ends", "why")
    list_filter = ("cluster", ("ends", admin.EmptyFieldListFilter))
    list_select_related = ("cluster",)
    search_fields = ("owner", "reason", "nodes__name")
    autocomplete_fields = ("cluster",)
    inlines = (HeldInline,)

    @admin.display(description="reason")
    def why(self, row: Reservation) -> str:
        """Return what it is for."""
        return row.reason

    def has_delete_permission(self, _request: HttpRequest, _obj: Any | None = None) -> bool:  # noqa: ANN401 - Django's
        """Return False: end it instead, so that its nodes come back."""
        return False

    def get_readonly_fields(
        self,
        _request: HttpRequest,
        obj: Any | None = None,  # noqa: ANN401 - Django's signature
    ) -> tuple[str, ...]:
        """Return what stays once it is there: whose it is, where, and from when."""
        return ("cluster", "owner", "begins") if obj else ()

    def save_formset(
        self,
        request: HttpRequest,
        _form: Any,  # noqa: ANN401 - Django's signature
        formset: forms.BaseModelFormSet[Any, Any],
        change: bool,  # noqa: ARG002, FBT001 - Django's signature
    ) -> None:
        """Hold the nodes for as long as the reservation lasts, from now on where it has begun."""
        row = formset.instance  # type: ignore[attr-defined]
        ReservedNode.objects.filter(reservation=row).update(ends=row.ends)
        for held in formset.save(commit=False):
            held.begins, held.ends = row.begins, row.ends
            held.save()
        if formset.new_objects:
            audit.record(
                actor=user_of(request).get_username(),
                verb="reserved",
                obj=row,
                after={"nodes": [str(held.node) for held in formset.new_objects]},
                reason=row.reason,
            )
        settle()
