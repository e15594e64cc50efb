"""What the policy tab of a service shows: in force, earlier, estimated, and simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from controller.core import wording
from controller.core.policy_fields import Difference, differences, plain_default
from controller.core.types import Adapt
from controller.models import AuditEvent, Decision
from controller.selectors import backtest_scores, backtests
from controller.selectors.backtests import Found
from inventory.models import Policy, PolicyRevision, Service
from inventory.services.policies import KEPT, body_of

MOST_REVISIONS: Final = 50
ASKED_BY: Final = "policy_tab"
"""Where a backtest keeps which service's tab asked for it, and with which policies."""

CURATED: Final = "curate"
"""Where a backtest says that it is a curation."""

IN_FORCE: Final = "in force"
EDITED: Final = "edited"
COMPARED: Final = (
    "gpu_hours",
    "slo_attainment",
    "slo_attainment_ttft",
    "slo_attainment_tbt",
    "actions",
    "reversals_10min",
    "peak_gpus",
)


@dataclass(frozen=True, slots=True)
class InForce:
    """A service with the policy it has; revision 0 and a body of defaults where it has none."""

    service: Service
    revision: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RevisionLine:
    """One revision: who saved it when and why, and what it changed of the one before."""

    revision: int
    by: str
    at: datetime | None
    reason: str
    changed: Sequence[Difference]
    in_force: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the newest decision found the present requests to ask for, to four digits."""

    ratio: float
    target: float
    decision: int

    @property
    def words(self) -> str:
        """Both figures in words."""
        return f"ratio {wording.ratio(self.ratio)}, target {wording.number(self.target)}"


@dataclass(frozen=True, slots=True)
class Curated:
    """What a curation found, in words: the best split, targets, ratio, and who was chosen.

    ``is_in_force`` where that is what the service has anyway.
    """

    sentence: str
    facts: Sequence[tuple[str, str]]
    note: str
    is_in_force: bool


@dataclass(frozen=True, slots=True)
class Simulation:
    """A backtest the tab asked for: how it stands and, once done, its rows under their names."""

    found: Found
    revision: int
    body: Mapping[str, Any]
    sentence: str
    columns: Sequence[backtest_scores.Column]
    rows: Sequence[backtest_scores.ScoreRow]
    is_curation: bool = False
    curated: Curated | None = None

    @property
    def key(self) -> str:
        """The id of the backtest, for the address of its figure."""
        return str(self.found.backtest.pk)


def in_force(slug: str) -> InForce | None:
    """Return a service and its policy, ``None`` when there is no such service; one query."""
    if "\0" in slug:
        return None
    service = Service.objects.select_related("policy", "cluster").filter(slug=slug).first()
    if service is None:
        return None
    policy: Policy | None = getattr(service, "policy", None)
    if policy is None:
        return InForce(service, 0, _beginning())
    return InForce(service, policy.revision, body_of(policy))


_NEW: Final = {
    "name": "proportional",
    "driver": "decode_tps",
    "adapt": Adapt.AUTOMATIC.value,
}


def _beginning() -> dict[str, Any]:
    return {name: plain_default(name) for name in KEPT} | _NEW


def revisions(now: InForce) -> Sequence[RevisionLine]:
    """Return the newest revisions, newest first; two queries however many there are."""
    kept = PolicyRevision.objects.filter(service=now.service).select_related("by")
    rows = list(kept[: MOST_REVISIONS + 1])
    known = {row.revision: row for row in rows}
    reasons = _reasons(now.service)
    lines = []
    # A policy that was made with its service has no row for its first revision.
    numbers = sorted({*known, *([now.revision] if now.revision else [])}, reverse=True)
    for number in numbers[:MOST_REVISIONS]:
        row = known.get(number)
        body = now.body if number == now.revision else known[number].body
        before = known.get(number - 1)
        lines.append(
            RevisionLine(
                revision=number,
                by=row.by.get_username() if row and row.by else "",
                at=row.at if row else None,
                reason=reasons.get(number, ""),
                changed=differences(before.body, body) if before else (),
                in_force=number == now.revision,
            )
        )
    return lines


def _reasons(service: Service) -> Mapping[int, str]:
    events = AuditEvent.objects.filter(
        service=service.slug, object_type="policy", after__has_key="revision"
    ).values_list("after__revision", "reason")
    return {number: reason for number, reason in events if isinstance(number, int)}


def body_of_revision(service: Service, revision: int) -> Mapping[str, Any] | None:
    """Return the body a form of that revision begins with, ``None`` when it was not kept."""
    if not revision:
        return _beginning()
    row = PolicyRevision.objects.filter(service=service, revision=revision).first()
    return row.body if row else None


def most(service: Service) -> Mapping[str, int]:
    """Return the most instances each role of a service may have."""
    return dict(service.roles.values_list("role", "maximum"))


def estimate(service: Service) -> Estimate | None:
    """Return the ratio and target the newest decision estimated, ``None`` where it did not."""
    newest = Decision.objects.filter(service=service).only("pk", "forecast").first()
    forecast = newest.forecast if newest else None
    if newest is None or not isinstance(forecast, Mapping):
        return None
    ratio, target = forecast.get("ratio"), forecast.get("target")
    if not isinstance(ratio, int | float) or not isinstance(target, int | float):
        return None
    return Estimate(float(f"{ratio:.4g}"), float(f"{target:.4g}"), newest.pk)


def simulation(service: Service, pk: UUID, now: datetime) -> Simulation | None:
    """Return a simulation the tab of this service asked for, ``None`` for any other."""
    found = backtests.find(pk, now)
    asked = found.backtest.asked.get(ASKED_BY) if found else None
    if found is None or not isinstance(asked, dict) or asked.get("service") != service.slug:
        return None
    labels, answer = asked["labels"], found.backtest.answer
    names = {}
    if EDITED in labels:
        names[labels[EDITED]] = EDITED
    if IN_FORCE in labels:
        names[labels[IN_FORCE]] = f"{IN_FORCE}, revision {asked['revision']}"
    curation = answer.get("curation") if answer else None
    curated = None
    if curation:
        chosen = curation["chosen"]["policy"]
        curated = _curated(curation, names.get(chosen, ""))
        names[chosen] = f"{names.get(chosen, chosen)} (chosen)"
    return Simulation(
        found=found,
        revision=asked["revision"],
        body=asked["body"] | (_adopted(curation) if curation else {}),
        sentence=_sentence(answer, labels) if answer and EDITED in labels else "",
        columns=[backtest_scores.BY_NAME[name] for name in COMPARED],
        rows=_rows(answer, names) if answer else (),
        is_curation=CURATED in found.backtest.asked,
        curated=curated,
    )


def _adopted(curation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the chosen policy says of what a service keeps."""
    return {name: value for name, value in curation["chosen"]["params"].items() if name in KEPT}


def _curated(curation: Mapping[str, Any], in_force: str) -> Curated:
    """Return what was found in words; ``in_force`` is who was chosen where that is in force."""
    best, drift, targets = curation["best"], curation["ratio_drift"], curation["targets"]
    cautious, mean = (wording.ratio(curation[name]) for name in ("pd_ratio_cautious", "pd_ratio"))
    hours = f"{drift['hours']} {'hour' if drift['hours'] == 1 else 'hours'}"
    split = f"{best['prefill']} prefill, {best['decode']} decode"
    carried = f"{wording.number(best['goodput_rps'])} requests/s within both goals"
    facts = [
        (f"Best split of {curation['gpus']:,} GPUs", f"{split}: {carried}"),
        ("P/D ratio", f"{cautious} as answers vary, {mean} by mean lengths"),
        (
            "Ratio by hour",
            f"{wording.ratio(drift['lowest'])} to {wording.ratio(drift['highest'])} over {hours}"
            if drift["hours"]
            else wording.UNKNOWN,
        ),
        (
            "Target, decode",
            f"{wording.number(targets['decode_tps_per_instance'])} tok/s per instance",
        ),
        (
            "Target, uncached prefill",
            f"{wording.number(targets['prefill_tps_uncached_per_instance'])} tok/s per instance",
        ),
    ]
    if curation["attainable_frac"] < 1:
        within = backtests.attained(curation["attainable_frac"])
        facts.append(("Prompts that can keep the TTFT goal", within))
    why = str(curation["chosen"]["why"])
    if in_force:
        why = why.replace(str(curation["chosen"]["policy"]), in_force, 1)
    note = curation.get("note")
    return Curated(f"Chosen: {why}.", facts, f"{note}." if note else "", bool(in_force))


def _rows(
    answer: Mapping[str, Any], names: Mapping[str, str]
) -> Sequence[backtest_scores.ScoreRow]:
    words = {backtest_scores.BY_NAME[name].word for name in COMPARED}
    return [
        replace(
            row,
            label=names.get(row.label, row.label),
            cells=[cell for cell in row.cells if cell.word in words],
        )
        for row in backtest_scores.table(answer, "")
    ]


def _sentence(answer: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Return what the edit would have cost and kept beside what is in force."""
    runs = {run["label"]: run for run in answer["runs"]}
    old, new = runs.get(labels[IN_FORCE]), runs.get(labels[EDITED])
    if old is None or new is None:
        return ""
    if old is new:
        return "The edited policy is the one in force: there is nothing to compare it with."
    kept = [backtests.attained(run["slo_attainment"]) for run in (old, new)]
    return (
        f"Edited {backtests.hours(new['gpu_hours'])} GPU-hours, in force "
        f"{backtests.hours(old['gpu_hours'])}{_change(old['gpu_hours'], new['gpu_hours'])}; "
        f"requests within both goals {kept[0]} → {kept[1]}; "
        f"reversals {old['reversals_10min']} → {new['reversals_10min']}."
    )


def _change(old: float, new: float) -> str:
    if not old:
        return ""
    share = 100 * (new - old) / old
    sign = "+" if share >= 0 else "−"
    return f" ({sign}{abs(share):.1f} %)"
