"""Forms of inventory rows: each rule of the database beside its field, no change overseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.exceptions import ValidationError

from inventory.importers.checks import label_problem

if TYPE_CHECKING:
    AnyModelForm = forms.ModelForm[Any]
else:
    # Django's class takes no parameter while the program runs.
    AnyModelForm = forms.ModelForm

_TARGET: Final = "Name exactly one of node, GPU, switch and NIC."
_FAR_END: Final = "A cable ends at one node or one other switch: name one of them."
_SAME_NAME: Final = "This cluster has one of this name already, in whatever letters."

MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "site_once_per_region": ("slug", "This region has a site of this slug already."),
    "rack_name_unique": ("name", "This site has a rack of this name already."),
    "rack_height_possible": ("u_height", "A rack has 1 to 60 U."),
    "hardware_gpus_at_most_72": ("gpus_per_node", "A node has at most 72 GPUs."),
    "hardware_alias_unique": ("text", "Another type, or this one, has this word already."),
    "fabric_name_unique": ("name", _SAME_NAME),
    "switch_name_unique": ("name", _SAME_NAME),
    "switch_guid_unique": ("guid", "Another switch has this GUID."),
    "switch_position_needs_rack": ("u_position", "A position needs a rack, and begins at 1."),
    "nvlink_domain_unique": ("name", _SAME_NAME),
    "node_name_unique": ("name", _SAME_NAME),
    "node_serial_unique": ("serial", "Another node has this serial."),
    "node_provider_id_unique": ("provider_id", "Another node has this provider id."),
    "node_k8s_uid_unique": ("k8s_uid", "Another node has this Kubernetes uid."),
    "node_gpus_at_most_72": ("gpus", "A node has at most 72 GPUs."),
    "node_position_needs_rack": ("u_position", "A position needs a rack, and begins at 1."),
    "node_units_free_front": ("u_position", "Another node is there, at the front."),
    "node_units_free_rear": ("u_position", "Another node is there, at the rear."),
    "gpu_index_once": ("index", "This node has a GPU of this index already."),
    "gpu_uuid_unique": ("uuid", "Another GPU has this UUID."),
    "nic_name_unique": ("name", "This node has an adapter of this name already."),
    "nic_guid_unique": ("guid", "Another adapter has this GUID or MAC."),
    "link_has_one_far_end": ("node", _FAR_END),
    "link_not_to_itself": ("peer", "A switch can't be cabled to itself."),
    "link_has_cables": ("count", "At least one cable."),
    "link_port_once": ("port", "Another cable is in this port."),
    "link_nic_once": ("peer_port", "Another cable is in this adapter."),
    "link_bundle_to_node_once": ("node", "The cables between these two are told already."),
    "link_bundle_to_switch_once": ("peer", "The cables between these two are told already."),
    "event_has_one_target": ("node", _TARGET),
    "event_ends_after_it_starts": ("ended", "It can't end before it starts."),
    "reservation_ends_after_it_begins": ("ends", "It has to end after it begins."),
}
"""What breaking a constraint means: the field it is said beside, and the words."""


class InventoryForm(AnyModelForm):
    """A row with the version that was shown, so that nobody's change is overwritten unseen."""

    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        required=False, max_length=1000, help_text="Why; kept in the audit.", strip=True
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            # What was shown is known by the version; a copy in the page would only be compared.
            field.show_hidden_initial = False
        version = getattr(self.instance, "version", None)
        if version is None or self.is_new:
            self.fields.pop("seen", None)
        elif "seen" in self.fields:
            self.fields["seen"].initial = version

    @property
    def is_new(self) -> bool:
        """Whether the row is yet to be made."""
        return bool(self.instance._state.adding)  # noqa: SLF001 - as Django's own forms ask

    @property
    def changed_fields(self) -> list[str]:
        """The fields of the row that were changed."""
        return [name for name in self.changed_data if name not in {"seen", "reason"}]

    def clean(self) -> dict[str, Any]:
        """Refuse a row that somebody else changed since it was shown; locks it until the end."""
        given = super().clean() or self.cleaned_data
        if "seen" in self.fields:
            rows = type(self.instance)._default_manager.select_for_update()  # noqa: SLF001
            now = rows.filter(pk=self.instance.pk).values_list("version", flat=True).first()
            if now != given.get("seen"):
                raise ValidationError(
                    "Somebody changed this meanwhile: open it anew, then change what still holds."
                )
        return given

    def clean_labels(self) -> dict[str, str]:
        """Refuse labels that no cluster could have."""
        labels = self.cleaned_data.get("labels") or {}
        if not isinstance(labels, dict):
            raise ValidationError('Give labels as a JSON object: {"team": "search"}.')
        for key, value in labels.items():
            if not isinstance(value, str):
                raise ValidationError(f"The value of {str(key)[:60]} has to be a text.")
            if problem := label_problem(key, value):
                raise ValidationError(f"{problem[0].upper()}{problem[1:]}.")
        return labels

    def _post_clean(self) -> None:
        """Fill the row and check it, constraints last and each with its own words.

        Django leaves out the fields that a form does not have, and fails where the condition of
        a constraint names one.
        """
        row = self.instance
        row.validate_constraints = lambda exclude=None: None  # noqa: ARG005 - Django's signature
        try:
            super()._post_clean()  # type: ignore[misc]  # it is Django's own hook
        finally:
            del row.validate_constraints
        if not self.errors:
            self._check_constraints()

    def _check_constraints(self) -> None:
        for constraint in self.instance._meta.constraints:  # noqa: SLF001 - public by custom
            try:
                constraint.validate(type(self.instance), self.instance)
            except ValidationError:
                field, text = MEANINGS.get(constraint.name, ("", "The database refuses this."))
                self.add_error(field if field in self.fields else None, text)
