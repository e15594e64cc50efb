"""Imports, what they changed and the versions of the inventory: to look at."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from controller.admin.records import RecordAdmin
from inventory.models import ImportChange, ImportFile, ImportRun, InventoryVersion


@admin.register(ImportRun)
class ImportRunAdmin(RecordAdmin):
    """Imports from their files to what they changed."""

    list_display = ("created_at", "created_name", "format", "state", "applied_at", "error")
    list_filter = ("state", "format")
    search_fields = ("created_name", "format", "error", "reason")


@admin.register(ImportFile)
class ImportFileAdmin(RecordAdmin):
    """Files of imports, without their bytes."""

    list_display = ("name", "size", "sha256", "run")
    list_select_related = ("run",)
    search_fields = ("name", "sha256")
    exclude = ("body",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ImportFile]:
        """Return the rows without their bytes."""
        rows: QuerySet[ImportFile] = super().get_queryset(request)
        return rows.defer("body")


@admin.register(ImportChange)
class ImportChangeAdmin(RecordAdmin):
    """What an import did to one object."""

    list_display = ("run", "seq", "operation", "kind", "name", "cluster", "at")
    list_filter = ("operation", "kind")
    list_select_related = ("run",)
    search_fields = ("name", "cluster")
    ordering = ("-pk",)


@admin.register(InventoryVersion)
class InventoryVersionAdmin(RecordAdmin):
    """Each change of what exists; decisions name the newest they saw."""

    list_display = ("seq", "at", "cause", "by", "run", "counts")
    list_filter = ("cause",)
    list_select_related = ("run",)
    search_fields = ("by",)
