"""The administration: rare edits, each validated and audited, and records to look at."""

from django.contrib import admin

from controller.admin import (
    accounts,
    configured,
    fabric,
    hardware,
    imports,
    machines,
    placed,
    places,
    records,
    upkeep,
)

__all__ = [
    "accounts",
    "configured",
    "fabric",
    "hardware",
    "imports",
    "machines",
    "placed",
    "places",
    "records",
    "upkeep",
]

admin.site.site_header = "HeteroScale administration"
admin.site.site_title = "HeteroScale administration"
admin.site.index_title = "Inventory, services and records"
admin.site.site_url = "/"
