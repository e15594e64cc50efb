"""Regions, sites, clusters and racks."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from controller.admin.inventory_form import InventoryForm
from controller.admin.inventory_table import InventoryAdmin
from controller.services import leaving
from inventory.models import Cluster, Node, Rack, Region, Site


class RegionForm(InventoryForm):
    """A region whose time zone there is."""

    def clean_time_zone(self) -> str:
        """Refuse a zone that no clock knows."""
        zone: str = self.cleaned_data["time_zone"]
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValidationError("Use a time zone such as UTC or Europe/Berlin.") from None
        return zone


class RackForm(InventoryForm):
    """A rack that is no lower than what stands in it."""

    def clean(self) -> dict[str, Any]:
        """Refuse a height that something reaches beyond."""
        given = super().clean()
        height = given.get("u_height")
        if height and not self.is_new:
            placed = Node.objects.filter(rack=self.instance, u_position__isnull=False)
            for name, low, tall in placed.values_list("name", "u_position", "u_height"):
                if low is not None and low + tall - 1 > height:
                    self.add_error("u_height", f"{name} reaches U{low + tall - 1}.")
                    break
        return given


class ClusterForm(InventoryForm):
    """A cluster that stays where it is while its region is stopped."""

    def clean_region(self) -> Region:
        """Refuse another region while something of the present one holds the cluster (S16)."""
        region: Region = self.cleaned_data["region"]
        if not self.is_new and (said := leaving.objection(self.instance, region)):
            raise ValidationError(said)
        return region


@admin.register(Region)
class RegionAdmin(InventoryAdmin):
    """Regions."""

    form = RegionForm
    list_display = ("slug", "name", "time_zone")
    search_fields = ("slug", "name")


@admin.register(Site)
class SiteAdmin(InventoryAdmin):
    """Buildings and rooms."""

    list_display = ("slug", "name", "region", "facility")
    list_filter = ("region",)
    list_select_related = ("region",)
    search_fields = ("slug", "name", "facility")
    autocomplete_fields = ("region",)


@admin.register(Cluster)
class ClusterAdmin(InventoryAdmin):
    """Clusters; the kind chooses who carries changes out."""

    form = ClusterForm
    list_display = ("slug", "name", "region", "kind")
    list_filter = ("kind", "region")
    list_select_related = ("region",)
    search_fields = ("slug", "name")
    autocomplete_fields = ("region",)

    def get_readonly_fields(
        self,
        _request: HttpRequest,
        obj: Any | None = None,  # noqa: ANN401 - Django's signature
    ) -> tuple[str, ...]:
        """Return the slug once the cluster is there: it is its address."""
        return ("slug",) if obj else ()


@admin.register(Rack)
class RackAdmin(InventoryAdmin):
    """Racks of a site."""

    form = RackForm
    list_display = ("name", "site", "row", "column", "u_height", "source", "missing_since")
    list_filter = ("site", "source")
    list_select_related = ("site",)
    search_fields = ("name", "facility_id", "row")
    autocomplete_fields = ("site",)
