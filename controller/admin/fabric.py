"""Fabrics, switches and cables; the domains that come of them, to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from controller.admin.inventory_form import InventoryForm
from controller.admin.inventory_table import InventoryAdmin
from controller.admin.records import RecordAdmin
from inventory.models import Fabric, Link, LocalityDomain, NvlinkDomain, Switch


class LinkForm(InventoryForm):
    """A cable within one cluster."""

    def clean(self) -> dict[str, Any]:
        """Refuse ends in other clusters."""
        given = super().clean()
        cluster = given.get("cluster")
        for name in ("switch", "node", "peer"):
            end = given.get(name)
            if cluster and end and end.cluster_id != cluster.pk:
                self.add_error(name, f"{end} belongs to another cluster.")
        return given


@admin.register(Fabric)
class FabricAdmin(InventoryAdmin):
    """Networks of clusters."""

    list_display = ("name", "cluster", "technology", "purpose", "rail_count")
    list_filter = ("purpose", "cluster")
    list_select_related = ("cluster",)
    search_fields = ("name", "cluster__slug", "technology")
    autocomplete_fields = ("cluster",)
    deriving = ("purpose", "cluster")


@admin.register(Switch)
class SwitchAdmin(InventoryAdmin):
    """Switches of a fabric."""

    list_display = (
        *("name", "tier", "rail", "cluster", "fabric", "rack", "lifecycle", "admin_state"),
        *("health", "source"),
    )
    list_filter = ("tier", "cluster", "health", ("missing_since", admin.EmptyFieldListFilter))
    list_select_related = ("cluster", "fabric", "rack")
    search_fields = ("name", "guid", "model")
    autocomplete_fields = ("cluster", "fabric", "rack")
    deriving = ("name", "cluster", "fabric", "tier")


@admin.register(NvlinkDomain)
class NvlinkDomainAdmin(InventoryAdmin):
    """Nodes that share NVLink."""

    list_display = ("name", "cluster", "parent")
    list_filter = ("cluster",)
    list_select_related = ("cluster",)
    search_fields = ("name", "parent")
    autocomplete_fields = ("cluster",)
    deriving = ("name", "cluster")


@admin.register(Link)
class LinkAdmin(InventoryAdmin):
    """Cables from a switch to a node or another switch."""

    form = LinkForm
    list_display = (
        *("switch", "port", "node", "peer", "peer_port", "speed_gbps", "count", "state"),
        *("cluster", "source"),
    )
    list_filter = ("cluster", "state", ("missing_since", admin.EmptyFieldListFilter))
    list_select_related = ("cluster", "switch", "node", "peer")
    search_fields = ("switch__name", "node__name", "peer__name", "port")
    autocomplete_fields = ("cluster", "switch", "node", "peer")
    ordering = ("pk",)
    deriving = ("cluster", "switch", "node", "peer")


@admin.register(LocalityDomain)
class LocalityDomainAdmin(RecordAdmin):
    """Domains that placement reads; they follow cables and labels."""

    list_display = ("name", "level", "cluster", "parent", "subgroup", "inventory_version")
    list_filter = ("level", "subgroup", "cluster")
    list_select_related = ("cluster", "parent")
    search_fields = ("name", "parent__name")
