"""Everything the controller wrote: to look at, never to edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from controller.models import (
    Action,
    AuditEvent,
    Backtest,
    Decision,
    Freeze,
    PolicySuggestion,
    Proposal,
    ServiceStatus,
    Tick,
    Trace,
)

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    # Django's class takes no parameter while the program runs.
    AnyModelAdmin = admin.ModelAdmin


class RecordAdmin(AnyModelAdmin):
    """What the controller wrote: to look at, never to edit."""

    show_full_result_count = False
    actions = None

    def has_add_permission(self, _request: HttpRequest, *_args: object) -> bool:
        """Return False."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Return False."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Return False."""
        return False


@admin.register(Decision)
class DecisionAdmin(RecordAdmin):
    """Decisions."""

    list_display = ("last_at", "service", "move", "code", "count", "sentence")
    list_filter = ("move", "gate", "code", "service")
    list_select_related = ("service",)
    search_fields = ("service__slug", "sentence")


@admin.register(Proposal)
class ProposalAdmin(RecordAdmin):
    """Proposals."""

    list_display = ("created_at", "service", "state", "sentence", "decided_by", "expires_at")
    list_filter = ("state", "service")
    list_select_related = ("service", "decided_by")
    search_fields = ("service__slug", "sentence")


@admin.register(PolicySuggestion)
class PolicySuggestionAdmin(RecordAdmin):
    """Suggested ratios and targets."""

    list_display = ("first_seen_at", "service", "state", "sentence", "decided_by", "confirmed_at")
    list_filter = ("state", "service")
    list_select_related = ("service", "decided_by")
    search_fields = ("service__slug", "sentence", "closed_reason")


@admin.register(Action)
class ActionAdmin(RecordAdmin):
    """Actions."""

    list_display = ("recorded_at", "service", "state", "actor", "reason", "error")
    list_filter = ("state", "service")
    list_select_related = ("service",)
    search_fields = ("service__slug", "actor", "reason")


@admin.register(Freeze)
class FreezeAdmin(RecordAdmin):
    """Freezes."""

    list_display = ("since", "scope", "by_name", "reason", "ended_at", "ended_by_name")
    list_select_related = ("service",)
    search_fields = ("by_name", "reason")


@admin.register(Tick)
class TickAdmin(RecordAdmin):
    """Ticks."""

    list_display = ("at", "slot", "epoch", "finished_at", "services", "fresh")


@admin.register(ServiceStatus)
class ServiceStatusAdmin(RecordAdmin):
    """The latest of each service."""

    list_display = ("service", "observed_at", "prefill_ready", "decode_ready", "failure")
    list_select_related = ("service",)
    search_fields = ("service__slug",)


@admin.register(AuditEvent)
class AuditEventAdmin(RecordAdmin):
    """Who did what, and why."""

    list_display = ("at", "actor", "verb", "object_type", "service", "reason")
    list_filter = ("verb", "object_type")
    search_fields = ("actor", "service", "reason", "object_id", "request_id")


@admin.register(Trace)
class TraceAdmin(RecordAdmin):
    """Uploaded traces; their bytes are downloaded from the backtests' pages."""

    list_display = ("created_at", "name", "kind", "rows", "span_s", "packed_bytes", "uploaded_by")
    list_select_related = ("uploaded_by",)
    search_fields = ("name", "sha256")
    exclude = ("content",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Trace]:
        """Return the rows without their bytes."""
        rows: QuerySet[Trace] = super().get_queryset(request)
        return rows.defer("content")


@admin.register(Backtest)
class BacktestAdmin(RecordAdmin):
    """Backtests; their answers are read on their own pages."""

    list_display = ("created_at", "load_name", "state", "created_by", "attempts", "error")
    list_filter = ("state", "source")
    list_select_related = ("created_by",)
    search_fields = ("load_name", "created_by__username", "error")
    exclude = ("answer", "series")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backtest]:
        """Return the rows without their answers."""
        rows: QuerySet[Backtest] = super().get_queryset(request)
        return rows.defer("answer", "series")
