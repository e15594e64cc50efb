"""Hardware types with the words imports call them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import F
from django.http import HttpRequest

from controller.admin.audited import user_of
from controller.admin.inventory_table import InventoryAdmin
from controller.models import PoolSample
from controller.services import audit
from inventory.models import HardwareAlias, HardwareType, Node
from inventory.services.hardware import holder_of

if TYPE_CHECKING:
    AliasModelForm = forms.ModelForm[HardwareAlias]
    AliasTable = admin.TabularInline[HardwareAlias, HardwareType]
else:
    # Django's classes take no parameters while the program runs.
    AliasModelForm, AliasTable = forms.ModelForm, admin.TabularInline


class AliasForm(AliasModelForm):
    """A word that no other type has, be it as an alias or as its slug."""

    class Meta:
        model = HardwareAlias
        fields = ("text",)

    def clean_text(self) -> str:
        """Refuse a word of another type, and name that."""
        word: str = self.cleaned_data["text"]
        taken = holder_of(word)
        if taken is not None and taken.pk != self.instance.hardware_id:
            raise ValidationError(f"Imports know {word} already: it means {taken.slug}.")
        return word


class AliasInline(AliasTable):
    """Words that imports call the type by."""

    model = HardwareAlias
    form = AliasForm
    extra = 1


@admin.register(HardwareType)
class HardwareTypeAdmin(InventoryAdmin):
    """Node models and their figures."""

    list_display = (
        *("slug", "vendor", "gpu_model", "gpus_per_node", "gpu_memory_mib"),
        *("mem_bw_gb_s", "bf16_tflops"),
    )
    search_fields = ("slug", "gpu_model", "vendor", "aliases__text")
    inlines = (AliasInline,)
    deriving = ("gpu_model",)

    def get_readonly_fields(
        self,
        _request: HttpRequest,
        obj: Any | None = None,  # noqa: ANN401 - Django's signature
    ) -> tuple[str, ...]:
        """Return the slug once the type is there: it is its address."""
        return ("slug",) if obj else ()

    def save_formset(
        self,
        request: HttpRequest,
        form: Any,  # noqa: ANN401 - Django's signature
        formset: forms.BaseModelFormSet[Any, Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save the words; more or fewer of them are a change of the type."""
        row = form.instance
        words = HardwareAlias.objects.filter(hardware=row).values_list("text", flat=True)
        before = list(words)
        super().save_formset(request, form, formset, change)
        after = list(words.all())
        if before == after:
            return
        HardwareType.objects.filter(pk=row.pk).update(version=F("version") + 1)
        audit.record(
            actor=user_of(request).get_username(),
            verb="changed the aliases of",
            obj=row,
            before={"aliases": before},
            after={"aliases": after},
            reason=form.cleaned_data.get("reason", ""),
        )
        self._stamp(request, 1, "changed")

    def has_delete_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:  # noqa: ANN401 - Django's
        """Return whether the person may, and no measurement of the last days would go with it."""
        may = super().has_delete_permission(request, obj)
        return may and not (obj and PoolSample.objects.filter(hardware=obj).exists())

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return what can be done to several: never removing them, which looks at each."""
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    def _clusters(self, rows: list[Any]) -> tuple[str, ...]:
        nodes = Node.objects.filter(hardware__in=rows).order_by()
        return tuple(sorted(set(nodes.values_list("cluster__slug", flat=True).distinct())))
