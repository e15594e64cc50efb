"""Nodes with their three states, their GPUs and adapters."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.db.models.functions import Now
from django.http import HttpRequest

from controller.admin.audited import user_of
from controller.admin.inventory_form import InventoryForm
from controller.admin.inventory_table import InventoryAdmin
from inventory.models import Gpu, Nic, Node
from inventory.services.racks import check_place

STATES = ("lifecycle", "admin_state")


class TiersField(SimpleArrayField):
    """Names with commas between; an empty one is a level nobody knows."""

    def prepare_value(self, value: Any) -> Any:  # noqa: ANN401 - Django's signature
        """Return the names as they are typed."""
        return ", ".join(one or "" for one in value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:  # noqa: ANN401 - Django's signature
        """Return the names, ``None`` for a level nobody knows."""
        found = [one.strip() or None for one in value.split(",")] if value else []
        if any(len(one or "") > 253 for one in found):  # noqa: PLR2004 - as long as the column
            raise ValidationError("A name has at most 253 characters.")
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:  # noqa: ANN401 - Django's signature
        """Return whether other names were typed."""
        return bool(list(initial or []) != self.clean(data))


class NodeForm(InventoryForm):
    """A node that could stand where it is said to stand."""

    tiers = TiersField(
        forms.CharField(max_length=253),
        required=False,
        label="Asserted S1, S2, …",
        help_text="Nearest first, with commas between; leave one empty where it is not known.",
    )

    def clean(self) -> dict[str, Any]:
        """Refuse units that are taken, naming by whom; a state is changed with a reason."""
        given = super().clean()
        hardware = given.get("hardware")
        if self.is_new and hardware and hardware.u_height and "u_height" not in self.changed_data:
            given["u_height"] = hardware.u_height
        if set(STATES) & set(self.changed_data) and not self.is_new and not given.get("reason"):
            self.add_error("reason", "Say why its state changes: it is shown at the node.")
        self._check_place(given)
        return given

    def _get_validation_exclusions(self) -> set[str]:
        # The column takes a level nobody knows; Django's check of it does not.
        return {*super()._get_validation_exclusions(), "tiers"}  # type: ignore[misc]

    def _check_place(self, given: dict[str, Any]) -> None:
        rack, low, height = (given.get(name) for name in ("rack", "u_position", "u_height"))
        if not (rack and low and height) or self.errors:
            return
        moved = {"rack", "u_position", "u_height", "face"} & set(self.changed_data)
        if not moved and not self.is_new:
            return
        # The row as it would be, as that of the form is filled in only after this.
        node = Node(name=self.instance.name or given["name"], u_height=height)
        try:
            check_place(node, rack, low, given["face"])
        except ValidationError as fault:
            self.add_error(None, fault)


@admin.register(Node)
class NodeAdmin(InventoryAdmin):
    """Nodes with their three states."""

    form = NodeForm
    list_display = (
        *("name", "cluster", "hardware", "gpus", "rack", "s1_domain", "lifecycle"),
        *("admin_state", "health", "schedulable", "source"),
    )
    list_filter = (
        *("cluster", "hardware", "lifecycle", "admin_state", "health", "schedulable"),
        ("missing_since", admin.EmptyFieldListFilter),
    )
    list_select_related = ("cluster", "hardware", "rack", "s1_domain")
    search_fields = ("name", "serial", "provider_id", "rack__name", "s1_domain__name")
    autocomplete_fields = ("cluster", "hardware", "rack", "nvlink_domain")
    readonly_fields = (
        *("reserved_for", "schedulable", "s1_domain", "s2_domain", "source", "source_ref"),
        *("managed_fields", "missing_since", "admin_by", "admin_reason", "admin_at"),
    )
    deriving = ("cluster", "hardware", "tiers", "nvlink_domain", "name")

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,  # noqa: ANN401 - Django's signature
        form: Any,  # noqa: ANN401 - Django's signature
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save; who changed the state, when and why is kept at the node."""
        if set(STATES) & set(form.changed_data) and form.cleaned_data.get("reason"):
            obj.admin_by = user_of(request).get_username()[:160]
            obj.admin_reason = form.cleaned_data["reason"]
            obj.admin_at = Now()
        super().save_model(request, obj, form, change)


@admin.register(Gpu)
class GpuAdmin(InventoryAdmin):
    """The GPUs of nodes."""

    list_display = ("index", "node", "cluster", "model", "memory_mib", "health", "uuid", "source")
    list_filter = ("health", "mig", ("missing_since", admin.EmptyFieldListFilter))
    list_select_related = ("node__cluster",)
    search_fields = ("uuid", "serial", "node__name")
    autocomplete_fields = ("node",)

    @admin.display(description="cluster")
    def cluster(self, row: Gpu) -> str:
        """Return whose node it is in."""
        return row.node.cluster.slug


@admin.register(Nic)
class NicAdmin(InventoryAdmin):
    """Network adapters."""

    list_display = ("name", "node", "cluster", "purpose", "rail", "speed_gbps", "state", "guid")
    list_filter = ("purpose", "state", ("missing_since", admin.EmptyFieldListFilter))
    list_select_related = ("node__cluster",)
    search_fields = ("name", "guid", "node__name")
    autocomplete_fields = ("node",)

    @admin.display(description="cluster")
    def cluster(self, row: Nic) -> str:
        """Return whose node it is in."""
        return row.node.cluster.slug
