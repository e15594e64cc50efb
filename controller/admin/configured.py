"""Rare edits of services, policies and engine profiles, each audited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from controller.admin.audited import AuditedRemoval, record, user_of
from controller.core import config_check
from controller.core.policies import POLICIES
from controller.core.policy_fields import GROUPS
from controller.core.types import Instances, Limits
from controller.core.types import Slo as SloValue
from controller.models import EngineProfile
from controller.selectors.profiles import problem_of
from controller.services import leaving, profiles
from controller.services.policies import save_policy
from controller.simulator.profile_file import ProfileError, read_profile
from inventory.models import Cluster, Policy, RoleHardware, RolePart, RoleSpec, Service, Slo
from inventory.models.services import parts_problem
from inventory.services.policies import KEPT
from inventory.snapshot import policy_config

if TYPE_CHECKING:
    PolicyModelForm = forms.ModelForm[Policy]
    RoleModelForm = forms.ModelForm[RoleSpec]
    ServiceModelForm = forms.ModelForm[Service]
    SloModelForm = forms.ModelForm[Slo]
    ProfileModelForm = forms.ModelForm[EngineProfile]
    RoleModelFormSet = forms.BaseInlineFormSet[RoleSpec, Service, forms.ModelForm[RoleSpec]]
    RoleTable = admin.TabularInline[RoleSpec, Service]
    RoleHardwareTable = admin.TabularInline[RoleHardware, RoleSpec]
    RolePartTable = admin.TabularInline[RolePart, RoleSpec]
    RolePartModelFormSet = forms.BaseInlineFormSet[RolePart, RoleSpec, forms.ModelForm[RolePart]]
    SloStack = admin.StackedInline[Slo, Service]
    PolicyStack = admin.StackedInline[Policy, Service]
    ServiceModelAdmin = admin.ModelAdmin[Service]
    RoleModelAdmin = admin.ModelAdmin[RoleSpec]
    PolicyModelAdmin = admin.ModelAdmin[Policy]
    SloModelAdmin = admin.ModelAdmin[Slo]
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    # Django's classes take no parameters while the program runs.
    PolicyModelForm = RoleModelForm = SloModelForm = ProfileModelForm = forms.ModelForm
    ServiceModelForm = forms.ModelForm
    RoleModelFormSet = RolePartModelFormSet = forms.BaseInlineFormSet
    RoleTable, RoleHardwareTable, RolePartTable, SloStack, PolicyStack = (
        admin.TabularInline,
        admin.TabularInline,
        admin.TabularInline,
        admin.StackedInline,
        admin.StackedInline,
    )
    ServiceModelAdmin = RoleModelAdmin = PolicyModelAdmin = admin.ModelAdmin
    SloModelAdmin = AnyModelAdmin = admin.ModelAdmin

ROLES = ("prefill", "decode")
POLICY_FIELDSETS: Final[Any] = tuple(
    (group.title, {"fields": group.names, "description": group.about}) for group in GROUPS
)
SLO_FIELDS = ("ttft_s", "tbt_s", "goal_frac")


class PolicyForm(PolicyModelForm):
    """A policy that the controller could use: refused with the field and what to enter instead."""

    name = forms.CharField(
        initial="proportional",
        help_text=f"One or several of these joined by “+”: {', '.join(POLICIES)}.",
    )
    driver = forms.CharField(
        initial="decode_tps",
        help_text=f"The signal that sizes both roles: {', '.join(config_check.DRIVERS)}.",
    )

    class Meta:
        model = Policy
        fields = KEPT

    def clean(self) -> dict[str, Any]:
        """Check the values as the controller does before it uses them."""
        given = super().clean() or self.cleaned_data
        # A field that could not even be read has its own message already.
        if not self.errors:
            try:
                config = policy_config(Policy(**{name: given[name] for name in KEPT}))
            except ValueError as fault:
                self.add_error("schedule", str(fault))
                return given
            for problem in config_check.validate_policy(config):
                # What is wrong inside a schedule names its window: "schedule[0].begin".
                self.add_error(problem.field.partition("[")[0], problem.message)
        return given

    def clean_schedule(self) -> object:
        """Read an empty field as a schedule without windows."""
        return self.cleaned_data["schedule"] or []


class RoleForm(RoleModelForm):
    """A role whose engine profile, if it names one, is known."""

    class Meta:
        model = RoleSpec
        fields = (
            *("role", "hardware", "gpus_per_instance", "nodes_per_instance"),
            *("minimum", "maximum", "profile", "select", "tolerate"),
        )
        widgets: ClassVar = {
            name: forms.Textarea(attrs={"rows": 2, "cols": 24, "spellcheck": "false"})
            for name in ("select", "tolerate")
        }

    def clean(self) -> dict[str, Any]:
        """Refuse GPUs and nodes that are not those of the role's parts, where it has any."""
        given = super().clean() or self.cleaned_data
        parts = [] if self.instance._state.adding else list(self.instance.parts.all())  # noqa: SLF001
        gpus, nodes = given.get("gpus_per_instance"), given.get("nodes_per_instance")
        for field, said in (
            ("gpus_per_instance", parts_problem(gpus, None, parts)),
            ("nodes_per_instance", parts_problem(None, nodes, parts)),
        ):
            if said:
                self.add_error(field, f"{said} The parts are on the role's page.")
        return given

    def clean_select(self) -> object:
        """Read an empty field as no labels."""
        return self.cleaned_data["select"] or {}

    def clean_tolerate(self) -> object:
        """Read an empty field as no taints."""
        return self.cleaned_data["tolerate"] or []

    def clean_profile(self) -> str:
        """Refuse a name nobody has given, with those that come close."""
        name: str = self.cleaned_data["profile"]
        if problem := problem_of(name):
            raise forms.ValidationError(problem)
        return name


class SloForm(SloModelForm):
    """Latency goals that can be met."""

    class Meta:
        model = Slo
        fields = SLO_FIELDS

    def clean(self) -> dict[str, Any]:
        """Check the values as the controller does before it uses them."""
        given = super().clean() or self.cleaned_data
        if not self.errors:
            values = {name: given[name] for name in SLO_FIELDS}
            for problem in config_check.validate_slo(SloValue(**values)):
                self.add_error(problem.field, problem.message)
        return given


class ProfileForm(ProfileModelForm):
    """A profile as its file, refused like a file with the field and what is wrong with it."""

    text = forms.CharField(
        label="profile file",
        widget=forms.Textarea(attrs={"rows": 24, "cols": 80, "spellcheck": "false"}),
        help_text="The JSON that ./heteroscale profile fit writes.",
    )

    class Meta:
        model = EngineProfile
        fields = ()

    def clean(self) -> dict[str, Any]:
        """Read the file as the command does; its name must be free."""
        given = super().clean() or self.cleaned_data
        if self.errors:
            return given
        try:
            given["profile"] = profile = read_profile(given["text"].encode(), "profile file")
        except ProfileError as fault:
            self.add_error("text", str(fault))
            return given
        if taken := profiles.who_has(profile.name):
            self.add_error("text", taken)
        return given


class RoleFormSet(RoleModelFormSet):
    """Both roles of a service, their limits against each other and the GPU budget."""

    def clean(self) -> None:
        """Refuse a service without one of its roles, and limits that contradict each other."""
        super().clean()
        if any(self.errors):
            return
        forms_of = {form.cleaned_data.get("role"): form for form in self.forms}
        if set(ROLES) - set(forms_of):
            raise forms.ValidationError("A service has both roles: give prefill and decode.")
        for problem in config_check.validate_limits(
            Limits(
                self._pair("minimum", forms_of),
                self._pair("maximum", forms_of),
                self.instance.max_gpus or 0,
            ),
            self._pair("gpus_per_instance", forms_of),
        ):
            field, _, role = problem.field.partition(".")
            if role:
                forms_of[role].add_error(field, problem.message)
            else:
                raise forms.ValidationError(f"Most GPUs: {problem.message}")

    def _pair(self, field: str, forms_of: dict[Any, forms.ModelForm[RoleSpec]]) -> Instances:
        return Instances(*(forms_of[role].cleaned_data[field] for role in ROLES))


class RoleInline(RoleTable):
    """Prefill and decode."""

    model = RoleSpec
    form = RoleForm
    formset = RoleFormSet
    extra = 0
    min_num = 2
    max_num = 2
    can_delete = False
    show_change_link = True


class SloInline(SloStack):
    """The goals."""

    model = Slo
    form = SloForm
    min_num = 1
    can_delete = False


class PolicyInline(PolicyStack):
    """The policy; saved as a new revision."""

    model = Policy
    form = PolicyForm
    fieldsets = POLICY_FIELDSETS
    min_num = 1
    can_delete = False


class ServiceForm(ServiceModelForm):
    """A service that stays where it is while its cluster or region is stopped."""

    def clean_cluster(self) -> Cluster:
        """Refuse another cluster while something of the present one holds the service (S16)."""
        cluster: Cluster = self.cleaned_data["cluster"]
        is_new = self.instance._state.adding  # noqa: SLF001 - as Django's own forms ask
        if not is_new and (said := leaving.objection(self.instance, cluster)):
            raise forms.ValidationError(said)
        return cluster


@admin.register(Service)
class ServiceAdmin(AuditedRemoval, ServiceModelAdmin):
    """Services with their roles, goals and policy."""

    form = ServiceForm
    list_display = ("slug", "name", "model_name", "cluster", "mode_word", "priority", "max_gpus")
    list_filter = ("mode", "cluster")
    list_select_related = ("cluster",)
    search_fields = ("slug", "name", "model_name")
    fields = (
        ("slug", "name"),
        ("model_name", "purpose"),
        ("cluster", "mode"),
        ("priority", "max_gpus"),
        ("affinity_level", "affinity_required"),
        ("spread_level", "spread_domains"),
        "labels",
    )
    inlines = (RoleInline, SloInline, PolicyInline)

    @admin.display(description="mode", ordering="mode")
    def mode_word(self, service: Service) -> str:
        """Return the mode in one word; the form explains it."""
        return service.mode

    def save_model(
        self,
        request: HttpRequest,
        obj: Service,
        form: forms.ModelForm[Service],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save and audit; whoever has the service open elsewhere is told of the change."""
        if change:
            obj.version += 1
        super().save_model(request, obj, form, change)
        record(request, obj, form, added=not change)

    def save_formset(
        self,
        request: HttpRequest,
        form: forms.ModelForm[Service],
        formset: forms.BaseModelFormSet[Any, Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save roles and goals and audit them; a policy becomes a new revision."""
        if formset.model is Policy:
            for policy in formset.save(commit=False):
                save_policy(policy, user=user_of(request))
            return
        super().save_formset(request, form, formset, change)
        for each in formset.forms:
            record(request, each.instance, each, added=each.instance in formset.new_objects)


class RolePartFormSet(RolePartModelFormSet):
    """The parts of one role, which take the GPUs of its instances together."""

    def clean(self) -> None:
        """Refuse parts that are not one instance of the role."""
        super().clean()
        if any(self.errors):
            return
        kept = [form for form in self.forms if form.has_changed() or form.instance.pk]
        parts = [form.instance for form in kept if not form.cleaned_data.get("DELETE")]
        role = self.instance
        if said := parts_problem(role.gpus_per_instance, role.nodes_per_instance, parts):
            raise forms.ValidationError(f"{said} To change both, remove the parts first.")


class RolePartInline(RolePartTable):
    """What one instance of a mixture of experts consists of."""

    model = RolePart
    formset = RolePartFormSet
    extra = 0


class RoleHardwareInline(RoleHardwareTable):
    """Hardware a role may run on where the one before it is short."""

    model = RoleHardware
    extra = 0


@admin.register(RoleSpec)
class RoleSpecAdmin(RoleModelAdmin):
    """Roles with alternative hardware and parts; the rest of a role is on its service's page."""

    list_display = ("service", "role", "hardware", "gpus_per_instance", "nodes_per_instance")
    list_filter = ("role", "hardware")
    list_select_related = ("service", "hardware")
    search_fields = ("service__slug",)
    fields = (*list_display, "select", "tolerate", "parts_level")
    readonly_fields = fields[:-1]
    inlines = (RoleHardwareInline, RolePartInline)

    def has_add_permission(self, _request: HttpRequest, *_args: object) -> bool:
        """Return False: a role comes with its service."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Return False: a service has both roles."""
        return False

    def save_formset(
        self,
        request: HttpRequest,
        form: forms.ModelForm[RoleSpec],
        formset: forms.BaseModelFormSet[Any, Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save and audit each alternative and each part."""
        super().save_formset(request, form, formset, change)
        for each in formset.forms:
            record(request, each.instance, each, added=each.instance in formset.new_objects)


@admin.register(Policy)
class PolicyAdmin(PolicyModelAdmin):
    """How services are sized; each change is a revision."""

    form = PolicyForm
    list_display = (
        "service",
        "name",
        "driver",
        "target",
        "pd_ratio",
        "theta_out",
        "theta_in",
        "revision",
    )
    list_filter = ("name", "driver")
    list_select_related = ("service",)
    search_fields = ("service__slug",)
    readonly_fields = ("service", "revision")
    fieldsets = ((None, {"fields": ("service", "revision")}), *POLICY_FIELDSETS)

    def has_add_permission(self, _request: HttpRequest, *_args: object) -> bool:
        """Return False: a policy comes with its service."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Return False: a service without a policy can't be sized."""
        return False

    def save_model(
        self,
        request: HttpRequest,
        obj: Policy,
        _form: object,
        _change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save as the next revision."""
        save_policy(obj, user=user_of(request))


@admin.register(Slo)
class SloAdmin(AuditedRemoval, SloModelAdmin):
    """Latency goals."""

    form = SloForm
    list_display = ("service", "ttft_s", "tbt_s", "goal_frac")
    list_select_related = ("service",)
    search_fields = ("service__slug",)
    readonly_fields = ("service",)

    def has_add_permission(self, _request: HttpRequest, *_args: object) -> bool:
        """Return False: goals come with their service."""
        return False

    def save_model(
        self,
        request: HttpRequest,
        obj: Slo,
        form: forms.ModelForm[Slo],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Save and audit."""
        super().save_model(request, obj, form, change)
        record(request, obj, form, added=False)


@admin.register(EngineProfile)
class EngineProfileAdmin(AnyModelAdmin):
    """Profiles people keep: added and removed, never changed, so that a name stays what it was."""

    list_display = ("name", "model_name", "provenance", "created_at", "created_by_name")
    search_fields = ("name", "provenance")
    readonly_fields = ("name", "body", "provenance", "created_at", "created_by_name")

    @admin.display(description="model")
    def model_name(self, row: EngineProfile) -> str:
        """Return the model the profile is for."""
        return str(row.body["model"])

    def get_form(
        self,
        request: HttpRequest,
        obj: Any | None = None,  # noqa: ANN401 - Django's signature
        change: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        **kwargs: Any,  # noqa: ANN401 - Django's signature
    ) -> type[forms.ModelForm[Any]]:
        """Return the form for a new profile; one that is there is shown without."""
        if not change:
            kwargs["form"] = ProfileForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(
        self, _request: HttpRequest, obj: EngineProfile | None = None
    ) -> tuple[str, ...]:
        """Return the file to give, or what was kept of it."""
        return self.readonly_fields if obj else ("text",)

    def has_change_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Return False: remove it and add another."""
        return False

    def save_model(
        self,
        request: HttpRequest,
        obj: EngineProfile,
        form: forms.ModelForm[EngineProfile],
        _change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Keep and audit."""
        row = profiles.save_profile(form.cleaned_data["profile"], user=user_of(request))
        obj.pk, obj.name = row.pk, row.name

    def delete_model(self, request: HttpRequest, obj: EngineProfile) -> None:
        """Remove and audit."""
        profiles.remove_profile(obj.name, user=user_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:  # noqa: ANN401 - Django's
        """Remove and audit each."""
        for row in queryset:
            profiles.remove_profile(row.name, user=user_of(request))
