"""Rare edits of what exists: places, hardware and nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from inventory.models import Cluster, HardwareType, Node, Rack, Region, Switch

if TYPE_CHECKING:
    RegionModelAdmin = admin.ModelAdmin[Region]
    ClusterModelAdmin = admin.ModelAdmin[Cluster]
    HardwareTypeModelAdmin = admin.ModelAdmin[HardwareType]
    SwitchModelAdmin = admin.ModelAdmin[Switch]
    RackModelAdmin = admin.ModelAdmin[Rack]
    NodeModelAdmin = admin.ModelAdmin[Node]
else:
    # Django's class takes no parameter while the program runs.
    RegionModelAdmin = ClusterModelAdmin = HardwareTypeModelAdmin = admin.ModelAdmin
    SwitchModelAdmin = RackModelAdmin = NodeModelAdmin = admin.ModelAdmin

admin.site.site_header = "HeteroScale administration"
admin.site.site_title = "HeteroScale administration"
admin.site.index_title = "Inventory, services and records"
admin.site.site_url = "/"


@admin.register(Region)
class RegionAdmin(RegionModelAdmin):
    """Regions."""

    list_display = ("slug", "name", "time_zone")
    search_fields = ("slug", "name")


@admin.register(Cluster)
class ClusterAdmin(ClusterModelAdmin):
    """Clusters; the kind chooses who carries changes out."""

    list_display = ("slug", "name", "region", "kind")
    list_filter = ("kind", "region")
    list_select_related = ("region",)
    search_fields = ("slug", "name")


@admin.register(HardwareType)
class HardwareTypeAdmin(HardwareTypeModelAdmin):
    """Node models and their figures."""

    list_display = (
        "slug",
        "gpu_model",
        "gpus_per_node",
        "gpu_memory_mib",
        "mem_bw_gb_s",
        "bf16_tflops",
    )
    search_fields = ("slug", "gpu_model", "vendor")


@admin.register(Switch)
class SwitchAdmin(SwitchModelAdmin):
    """Switches of a fabric."""

    list_display = ("name", "tier", "cluster", "fabric")
    list_filter = ("tier", "cluster")
    list_select_related = ("cluster", "fabric")
    search_fields = ("name",)


@admin.register(Rack)
class RackAdmin(RackModelAdmin):
    """Racks of a site."""

    list_display = ("name", "site", "u_height")
    list_filter = ("site",)
    list_select_related = ("site",)
    search_fields = ("name",)


@admin.register(Node)
class NodeAdmin(NodeModelAdmin):
    """Nodes with their three states."""

    list_display = (
        "name",
        "cluster",
        "hardware",
        "gpus",
        "rack",
        "s1_domain",
        "lifecycle",
        "admin_state",
        "health",
    )
    list_filter = ("cluster", "hardware", "lifecycle", "admin_state", "health")
    list_select_related = ("cluster", "hardware", "rack", "s1_domain")
    search_fields = ("name", "rack__name", "s1_domain__name")
    autocomplete_fields = ("rack",)
    show_full_result_count = False
