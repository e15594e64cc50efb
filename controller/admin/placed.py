"""Groups, bindings and rearrangements: what placement wrote, to look at."""

from __future__ import annotations

from django.contrib import admin

from controller.admin.records import RecordAdmin
from controller.models import Rearrangement
from inventory.models import Binding, DeploymentGroup


@admin.register(DeploymentGroup)
class DeploymentGroupAdmin(RecordAdmin):
    """Deployment groups."""

    list_display = ("name", "service", "level", "domain", "made_at", "ended_at")
    list_filter = ("level", "service", ("ended_at", admin.EmptyFieldListFilter))
    list_select_related = ("service",)
    search_fields = ("name", "service__slug", "domain")


@admin.register(Binding)
class BindingAdmin(RecordAdmin):
    """Which instance holds which GPUs."""

    list_display = (
        *("node", "gpus", "instance", "place", "role", "group", "state"),
        *("bound_at", "released_at"),
    )
    list_filter = ("state", "role", ("released_at", admin.EmptyFieldListFilter))
    list_select_related = ("node", "group")
    search_fields = ("instance", "place", "node__name", "group__service__slug")


@admin.register(Rearrangement)
class RearrangementAdmin(RecordAdmin):
    """Moves and shrunk services that people were asked for."""

    list_display = ("created_at", "kind", "service", "state", "sentence", "decided_by")
    list_filter = ("state", "kind", "service")
    list_select_related = ("service", "decided_by")
    search_fields = ("service__slug", "sentence")
