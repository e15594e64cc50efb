"""What operators may send: exactly these fields, anything else is ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django import forms

from controller.services.fleet import labels_of
from inventory.importers.detect import AUTO
from inventory.models import ImportRun, Nearness, Node, Rack, Service
from inventory.models.places import TALLEST_U
from inventory.services.importing import Wanted, wanted_of
from inventory.transitions import ACTIONS, NodeChange

LONGEST_REASON: Final = 1000
MOST_NODES: Final = 2_001
"""One more than may change at once, so that too many are refused and not cut."""
MOST_ITEMS: Final = 50
"""As many as one page of the queue shows."""
HOLDS: Final = (
    ("4", "4 hours"),
    ("24", "1 day"),
    ("72", "3 days"),
    ("168", "1 week"),
    ("720", "30 days"),
    ("", "without an end"),
)
"""How long nodes are reserved, in hours."""
USUAL_HOLD: Final = "24"
NO_REASON: Final = "Give a reason: it is what the next person reads."


def _reason(*, required: bool) -> forms.CharField:
    return forms.CharField(
        max_length=LONGEST_REASON,
        required=required,
        error_messages={
            "required": NO_REASON,
            "max_length": "The reason has %(show_value)s characters; at most %(limit_value)s fit.",
        },
    )


class ApproveForm(forms.Form):
    """An approval of one version, bound to what was shown."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    fingerprint = forms.RegexField(r"^[0-9a-f]{64}\Z")
    reason = _reason(required=False)
    typed = forms.IntegerField(min_value=0, max_value=10**6, required=False)

    def said(self) -> dict[str, Any]:
        """Return what the approval is given for and why; of a wrong form what approves nothing."""
        given = {"version": 0, "fingerprint": "", "reason": "—", "typed": None} | self.cleaned_data
        return {"typed_gpus": given.pop("typed"), **given}


class BreakGlassForm(ApproveForm):
    """An approval that waits for nobody else: with a reason and the number of GPUs typed."""

    reason = _reason(required=True)


class CommentForm(forms.Form):
    """What somebody says about a proposal without deciding."""

    text = forms.CharField(
        max_length=LONGEST_REASON,
        error_messages={
            "required": "Write something: an empty comment says nothing.",
            "max_length": "It has %(show_value)s characters; at most %(limit_value)s fit.",
        },
    )


class BulkForm(forms.Form):
    """One answer to several proposals: each as it was shown, the reason for all."""

    verb = forms.ChoiceField(choices=[(verb, verb) for verb in ("approve", "reject")])
    reason = _reason(required=False)

    def clean(self) -> dict[str, Any]:
        """Read the ticked ones, as ``pk`` or as ``pk:version:fingerprint``."""
        given = self.data.getlist("item")  # type: ignore[attr-defined]  # it is a QueryDict
        found = [_seen(text) for text in given[:MOST_ITEMS]]
        if not found:
            raise forms.ValidationError("Tick at least one proposal.")
        self.cleaned_data["items"] = found
        is_last = self.cleaned_data.get("verb") == "reject" and "confirm" in self.data
        if is_last and not self.cleaned_data.get("reason"):
            self.add_error("reason", NO_REASON)
        return self.cleaned_data


def _seen(text: str) -> tuple[int, int, str]:
    key, _, rest = text.partition(":")
    version, _, fingerprint = rest.partition(":")
    try:
        return int(key[:18]), int(version[:9] or 0), fingerprint[:64]
    except ValueError:
        raise forms.ValidationError("The form names a proposal that is none.") from None


class ChangeForm(forms.Form):
    """The counts a person wants of a service, and why; ``seen`` is what they looked at."""

    prefill = forms.IntegerField(min_value=0, max_value=10**5, label="Prefill instances")
    decode = forms.IntegerField(min_value=0, max_value=10**5, label="Decode instances")
    reason = _reason(required=True)
    seen = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput)
    version = forms.IntegerField(
        min_value=1, max_value=2**31 - 1, required=False, widget=forms.HiddenInput
    )


class RuleForm(forms.Form):
    """A rule that approves by itself; ``opened`` is the revision that was seen, 0 for none."""

    name = forms.SlugField(max_length=63, label="Name", help_text="Letters, digits, hyphens.")
    scope = forms.ChoiceField(label="Within")
    direction = forms.ChoiceField(
        label="Lets through",
        choices=(("out", "scale-out"), ("in", "scale-in"), ("any", "both directions")),
    )
    most_gpus = forms.IntegerField(
        min_value=1,
        max_value=10**6,
        required=False,
        label="At most so many GPUs",
        help_text="Empty: no limit of its own.",
    )
    most_percent = forms.FloatField(
        min_value=0.1,
        max_value=100,
        required=False,
        label="At most of a role [%]",
        help_text="Of the instances it has before; empty: no limit of its own.",
    )
    within = forms.ChoiceField(
        required=False,
        label="Stays together within",
        choices=(("", "any domain"), ("s1", "one S1 domain"), ("s2", "one S2 domain")),
        help_text="Of groups that gain instances.",
    )
    days = forms.TypedMultipleChoiceField(
        choices=tuple(enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))),
        coerce=int,
        required=False,
        label="On",
        help_text="None ticked: every day.",
        widget=forms.CheckboxSelectMultiple,
    )
    from_time = forms.TimeField(required=False, label="From", help_text="Such as 08:00.")
    until_time = forms.TimeField(required=False, label="Until", help_text="Both, or neither.")
    time_zone = forms.CharField(max_length=63, label="Time zone", initial="UTC")
    is_enabled = forms.BooleanField(required=False, initial=True, label="In force")
    is_unlimited = forms.BooleanField(
        required=False,
        label="Without any limit of its size",
        help_text="Only where neither GPUs nor a share are given above.",
    )
    reason = _reason(required=True)
    opened = forms.IntegerField(
        min_value=0, max_value=2**31 - 1, initial=0, widget=forms.HiddenInput
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        scopes: Sequence[tuple[str, str]],
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=dict(initial or {}))
        self.fields["scope"].choices = scopes  # type: ignore[attr-defined]  # it is a choice


class RollBackForm(forms.Form):
    """Why a change is to be taken back, and whether also what came after it."""

    reason = _reason(required=True)
    anyway = forms.BooleanField(required=False)


class RejectForm(forms.Form):
    """A rejection or dismissal of one version, with its reason."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    reason = _reason(required=True)


class AdoptForm(forms.Form):
    """An adoption of one version of a policy suggestion."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    reason = _reason(required=False)


class FreezeForm(forms.Form):
    """Why automatic change stops."""

    reason = _reason(required=True)


class ResumeForm(FreezeForm):
    """Why automatic change goes on; what says nothing further is watched first (A09)."""

    act_at_once = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any]:
        """Turn the box that skips the watching into whether to watch first."""
        at_once = self.cleaned_data.pop("act_at_once")
        return {**self.cleaned_data, "watch_first": not at_once}


class OutsideForm(forms.Form):
    """What is to become of counts that somebody else changed, and why."""

    answer = forms.ChoiceField(
        choices=[(name, name) for name in ("adopt", "restore", "freeze")],
        error_messages={"required": "Choose one of the three.", "invalid_choice": "Choose one."},
    )
    reason = _reason(required=True)


class FleetChangeForm(forms.Form):
    """A change of nodes: which, what, and with ``confirm`` the versions that were shown."""

    action = forms.ChoiceField(choices=[(name, name) for name in ACTIONS])
    every = forms.BooleanField(required=False)
    query = forms.CharField(max_length=4_000, required=False)
    labels = forms.CharField(max_length=2_000, required=False)
    drop = forms.CharField(max_length=2_000, required=False)
    owner = forms.CharField(max_length=160, required=False)
    hours = forms.ChoiceField(choices=HOLDS, required=False)
    reason = forms.CharField(max_length=LONGEST_REASON, required=False)
    typed = forms.IntegerField(min_value=0, max_value=10**6, required=False)
    back = forms.CharField(max_length=4_000, required=False)

    def clean(self) -> dict[str, Any]:
        """Read the nodes: ids at first, ids with the version that was shown at last."""
        given = self.data.getlist("node")  # type: ignore[attr-defined]  # it is a QueryDict
        found: dict[UUID, int] = {}
        for text in given[:MOST_NODES]:
            key, _, version = text.partition(":")
            try:
                found[UUID(key)] = int(version[:9] or 0)
            except ValueError:
                raise forms.ValidationError("The form names a node that is none.") from None
        if not found and not self.cleaned_data.get("every"):
            raise forms.ValidationError("Tick at least one node, or choose all that match.")
        self.cleaned_data["node"] = found
        return self.cleaned_data

    def problems(self) -> list[str]:
        """Return what is wrong, as sentences."""
        return [str(text) for errors in self.errors.values() for text in errors]

    def asked(self, now: datetime) -> NodeChange:
        """Return the change that is wanted; a reservation lasts from ``now``."""
        given = self.cleaned_data
        hours = given["hours"]
        return NodeChange(
            action=given["action"],
            put=labels_of(given["labels"]),
            drop=tuple(labels_of(given["drop"])),
            owner=given["owner"].strip(),
            ends=now + timedelta(hours=int(hours)) if hours else None,
        )

    def back_to(self) -> str:
        """Return the page to go back to: one of the fleet's own."""
        back: str = self.cleaned_data.get("back") or ""
        return back if back.startswith("/fleet/") and "//" not in back else "/fleet/"


def _words(text: str) -> list[str]:
    return [one.strip() for one in text.replace("\n", ",").split(",") if one.strip()]


def _version() -> forms.IntegerField:
    return forms.IntegerField(min_value=1, max_value=2**31 - 1, widget=forms.HiddenInput)


class RackForm(forms.Form):
    """What a person may change of a rack; ``version`` is the one they saw."""

    row = forms.CharField(max_length=30, required=False, label="Row")
    column = forms.CharField(max_length=30, required=False, label="Column")
    u_height = forms.IntegerField(min_value=1, max_value=TALLEST_U, label="Height [U]")
    power_kw = forms.FloatField(
        min_value=0,
        max_value=10_000,
        required=False,
        label="Power [kW]",
        help_text="Empty: unknown.",
    )
    cooling = forms.CharField(max_length=60, required=False, label="Cooling")
    reason = _reason(required=False)
    version = _version()

    @classmethod
    def of(cls, rack: Rack) -> RackForm:
        """Return the form as it begins."""
        names = ("row", "column", "u_height", "power_kw", "cooling", "version")
        return cls(initial={name: getattr(rack, name) for name in names})


class PlacementForm(forms.Form):
    """How near and how spread a service is placed; ``version`` is the one the person saw."""

    affinity_level = forms.ChoiceField(
        choices=Nearness.choices,
        label="A group shares one",
        help_text="How near to each other the instances of a deployment group are kept.",
    )
    affinity_required = forms.TypedChoiceField(
        choices=(
            ("no", "preferred"),
            ("yes", "required"),
        ),
        coerce=lambda text: text == "yes",
        label="And that is",
        help_text="Required: rather not placed than farther apart. Preferred: farther apart if"
        " need be.",
    )
    spread_level = forms.ChoiceField(
        choices=(("", "no failure domains"), *Nearness.choices),
        required=False,
        label="Spread over",
        help_text="Not nearer than what a group shares.",
    )
    spread_domains = forms.IntegerField(
        min_value=2,
        max_value=64,
        label="At least so many of them",
        help_text="2 to 64: no such domain gets more than its share of either role.",
    )
    reason = _reason(required=True)
    version = _version()

    @classmethod
    def of(cls, service: Service) -> PlacementForm:
        """Return the form as it begins."""
        names = ("affinity_level", "spread_level", "spread_domains", "version")
        required = "yes" if service.affinity_required else "no"
        initial = {name: getattr(service, name) for name in names}
        return cls(initial=initial | {"affinity_required": required})


class MoveForm(forms.Form):
    """Where a node is to stand; ``version`` is that of the node the person saw."""

    u_position = forms.IntegerField(
        min_value=1,
        max_value=TALLEST_U,
        required=False,
        label="Lowest U",
        help_text="Empty: somewhere in the rack.",
    )
    face = forms.ChoiceField(choices=Node.Face.choices, label="Face")
    reason = _reason(required=False)
    version = _version()

    def __init__(self, *args: Any, racks: Sequence[tuple[str, str]], **kwargs: Any) -> None:  # noqa: ANN401
        """Take the racks to choose from, as pairs of key and name."""
        super().__init__(*args, **kwargs)
        choices = [("", "in no known rack"), *racks]
        self.fields["rack"] = forms.ChoiceField(choices=choices, required=False, label="Rack")
        self.order_fields(["rack"])


class _Told(forms.Form):
    """A form whose faults are told as one sentence."""

    def problem(self) -> str:
        """Return what is wrong."""
        return " ".join(str(text) for errors in self.errors.values() for text in errors)


LEVELS: Final = 2_000
NAME_MAP: Final = 1_000_000


class ImportForm(_Told):
    """Files and pasted text to be imported, and how they are to be read."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    again = forms.UUIDField(required=False)
    pasted = forms.CharField(required=False, strip=False)
    uploads = forms.Field(required=False)
    format = forms.CharField(max_length=20, required=False)
    cluster = forms.CharField(max_length=253, required=False)
    levels = forms.CharField(max_length=LEVELS, required=False)
    names = forms.CharField(max_length=NAME_MAP, required=False, strip=False)
    part = forms.BooleanField(required=False)

    def wanted(self) -> Wanted:
        """Return how the files are to be read."""
        given = self.cleaned_data
        return Wanted(
            form=given["format"] or AUTO,
            cluster=given["cluster"],
            level_keys=tuple(_words(given["levels"])),
            names=given["names"],
            part=given["part"],
        )


class ReplanForm(_Told):
    """Other choices for a plan; what is not sent stays as it is."""

    levels = forms.CharField(max_length=LEVELS, required=False)
    choices = forms.BooleanField(required=False)
    cluster = forms.CharField(max_length=253, required=False)
    format = forms.CharField(max_length=20, required=False)
    part = forms.BooleanField(required=False)
    new = forms.CharField(max_length=63, required=False)
    same_as = forms.CharField(max_length=63, required=False)

    def wanted(self, run: ImportRun) -> Wanted:
        """Return how the files of ``run`` are to be read now."""
        before, given = wanted_of(run), self.cleaned_data
        if given["choices"]:
            # A list to choose from sends a key for each level, a line to type in all of them.
            chosen: list[str] = self.data.getlist("level")  # type: ignore[attr-defined]  # it is a QueryDict
            return replace(
                before,
                form=given["format"] or AUTO,
                cluster=given["cluster"],
                level_keys=tuple(filter(None, chosen)) or tuple(_words(given["levels"])),
                part=given["part"],
            )
        merges = {key: to for key, to in before.merges.items() if key != given["new"]}
        if given["new"] and given["same_as"]:
            merges[given["new"]] = given["same_as"]
        return replace(before, merges=merges)


def form_of(run: ImportRun, key: UUID) -> ImportForm:
    """Return the form that uses the files and choices of an import again."""
    wanted = wanted_of(run)
    told = {
        "key": key,
        "again": run.pk,
        "format": "" if wanted.form == AUTO else wanted.form,
        "cluster": wanted.cluster,
        "levels": ", ".join(wanted.level_keys),
        "names": wanted.names,
        "part": wanted.part,
    }
    return ImportForm(initial=told)


class ApplyForm(_Told):
    """An agreement to a plan: which, why, and the GPUs where many would go missing."""

    digest = forms.CharField(max_length=64, required=False)
    reason = forms.CharField(max_length=LONGEST_REASON, required=False)
    gpus = forms.IntegerField(min_value=0, max_value=10**7, required=False)

    def key(self) -> UUID:
        """Return the id of what is asked for, a new one where the form brings none."""
        try:
            return UUID(self.data.get("key", ""))
        except ValueError:
            return uuid4()
