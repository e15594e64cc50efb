"""Target and ratio of a service that is set up, where the speeds of its engines are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from controller.core.types import ROLES, Role, Slo
from controller.selectors.profiles import readable
from controller.simulator.backtest.question import QuestionError
from controller.simulator.fits import Fitting, fitting
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.quick_stress import USUAL, Sized, size
from inventory.models import HardwareType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controller.core.kube.offers import Offer
    from controller.selectors.service_proposal import Proposed

GOAL_FRAC: Final = 0.99
LOOK: Final = "look for services at a Prometheus first"
LATER: Final = "curate them on the tab Policy once there is load"


@dataclass(frozen=True, slots=True)
class Engines:
    """The profiles there are, and which of them fit each role."""

    profiles: Mapping[str, Profile]
    fits: Mapping[Role, Fitting]

    def proposed(self) -> dict[Role, str]:
        """Return the likeliest profile of each role, none where a name does not tell the model."""
        whole = all(fit.told and fit.names for fit in self.fits.values())
        return {role: self.fits[role].names[0] if whole else "" for role in self.fits}

    def groups(self, role: Role) -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
        """Return every profile by its name, those that fit first."""
        fit = self.fits[role].names
        rest = sorted(self.profiles.keys() - {*fit})
        groups = (("fit its GPUs and model", fit), ("others", rest))
        return [(word, [(name, name) for name in names]) for word, names in groups if names]


def engines(values: Mapping[str, Any], offers: Mapping[Role, Offer]) -> Engines:
    """Return which profiles may be those of a service with such values; three queries."""
    profiles = {**PROFILES, **{n: p for n, p in readable(None).items() if n not in PROFILES}}
    slugs = {str(values.get(f"{role}_hardware", "")) for role in ROLES}
    rows = HardwareType.objects.filter(slug__in=slugs).prefetch_related("aliases")
    words = {
        row.slug: [row.slug, row.gpu_model, *(alias.text for alias in row.aliases.all())]
        for row in rows
    }
    names = [str(values.get("model", "")), *(offers[role].name for role in ROLES)]
    return Engines(
        profiles,
        {
            role: fitting(
                profiles,
                words.get(values.get(f"{role}_hardware", ""), ()),
                int(values.get(f"{role}_gpus") or 0),
                names,
            )
            for role in ROLES
        },
    )


def with_engines(proposed: Proposed, known: Engines) -> Proposed:
    """Return what is proposed with the profiles that fit, where it does not name any."""
    named = {f"{role}_profile": name for role, name in known.proposed().items()}
    return replace(proposed, values={**named, **proposed.values})


def reckoned(proposed: Proposed, known: Engines, offers: Mapping[Role, Offer]) -> Proposed:
    """Return what is proposed with target and ratio by the stress test, and what they rest on.

    Without a profile for each role, and where the goals are out of their reach, target and ratio
    stay as they are.
    """
    values = proposed.values
    chosen = [str(values.get(f"{role}_profile") or "") for role in ROLES]
    pair = [known.profiles[name] for name in chosen if name in known.profiles]
    if len(pair) < len(ROLES):
        return _told(proposed, _unfitting(known))
    gpus = sum(offers[role].count * int(values[f"{role}_gpus"]) for role in ROLES)
    slo = Slo(float(values["ttft_s"]), float(values["tbt_s"]), GOAL_FRAC)
    try:
        found = size((pair[0], pair[1]), proposed.lengths or USUAL, slo, gpus)
    except QuestionError as fault:
        said = f"The stress test of curation proposes nothing: {fault.message}."
        return _told(proposed, said)
    goals = f"Goals {_shown(proposed)}." if proposed.measured_at else f"Goals are usual: {LOOK}."
    return replace(
        proposed,
        values={**values, "target": found.target, "pd_ratio": found.pd_ratio},
        basis=(*proposed.basis, goals, _stress_said(found, proposed, chosen)),
    )


def _stress_said(found: Sized, proposed: Proposed, chosen: Sequence[str]) -> str:
    best, lengths = found.best.instances, proposed.lengths or USUAL
    engines = " and ".join(dict.fromkeys(chosen))
    source = f"as {proposed.measured_at} showed" if proposed.lengths else "as is usual"
    return (
        f"Target and ratio by the stress test of curation with {engines}: of {found.gpus:,} GPUs "
        f"{best.prefill} prefill and {best.decode} decode instances carry most within the goals, "
        f"{found.best.goodput_rps:,.3g} requests/s of {lengths.prompt:,.0f} prompt and "
        f"{lengths.answer:,.0f} generated tokens each, {source}. The mix is followed from there."
    )


def _unfitting(known: Engines) -> str:
    fits = known.fits.values()
    if not all(fit.names for fit in fits) or all(fit.told for fit in fits):
        return ""
    return (
        "Engine profiles of its GPUs are known, but no name tells its model: choose one for each "
        "role if it is there, and let target and ratio be reckoned from them."
    )


def _told(proposed: Proposed, said: str) -> Proposed:
    """Return what is proposed with what its goals, target and ratio rest on."""
    shown = (
        f"Goals, target and ratio {_shown(proposed)}."
        if proposed.measured_at
        else f"Goals and target are usual values, nothing is measured yet: {LOOK}, or {LATER}."
    )
    return replace(proposed, basis=(*proposed.basis, shown, *([said] if said else [])))


def _shown(proposed: Proposed) -> str:
    return f"by what {proposed.measured_at} showed in 24 h"
