"""Who takes part in a backtest: our policies as they run live, and the reference policies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, TypeVar

from controller.core.config_check import validate_spec
from controller.core.decision_plain import DocumentError, policy_from
from controller.core.types import (
    Adapt,
    Instances,
    Limits,
    Mode,
    PolicyConfig,
    Role,
    ServiceSpec,
)
from controller.simulator.backtest.question import Candidate, QuestionError
from controller.simulator.capacity import Capacity, default_policy
from controller.simulator.profiles import Profile
from controller.simulator.references import REFERENCES
from controller.simulator.references.port import Briefing, Controller
from controller.simulator.speeds import engine_of

_T = TypeVar("_T")

OURS: Final[Mapping[str, str]] = {
    "default": "What a new service gets of which only engines and goals are known.",
    "proportional": "Proportional control on one linear signal that sizes both roles at a ratio.",
}
POLICY_NAMES: Final = (*OURS, *REFERENCES)

_FIXED: Final = frozenset(
    {"version", "proposal_ttl_s", "proposal_ttl_in_s", "schedule", "time_zone"}
)
"""Fields of a policy that a backtest has no use for."""

PARAMETERS: Final = tuple(f.name for f in fields(PolicyConfig) if f.name not in _FIXED)


def describe(name: str) -> str:
    """Return a policy in one sentence. Raises ``KeyError``."""
    return OURS[name] if name in OURS else REFERENCES[name].summary


@dataclass(frozen=True, slots=True)
class Stage:
    """What is the same for every contestant."""

    prefill: Profile
    decode: Profile
    capacity: Capacity
    limits: Limits
    briefing: Briefing

    def spec(self, key: str, policy: PolicyConfig) -> ServiceSpec:
        """Return the service as the loop knows it, in automatic mode, on a cluster of its own."""
        return ServiceSpec(
            key=key,
            cluster=key,
            mode=Mode.AUTOMATIC,
            slo=self.briefing.slo,
            limits=self.limits,
            policy=policy,
            gpus_per_instance=Instances(self.prefill.tp, self.decode.tp),
            hardware={Role.PREFILL: self.prefill.hardware, Role.DECODE: self.decode.hardware},
            engine=engine_of(
                self.prefill,
                self.decode,
                prompt_spread=self.briefing.demand.spread,
                output_spread=self.briefing.demand.output_spread,
            ),
        )


@dataclass(frozen=True, slots=True)
class Contestant:
    """One policy ready to run: ours has no ``reference``; its ``spec`` says how it is sized."""

    candidate: Candidate
    spec: ServiceSpec
    params: Mapping[str, float | str]
    reference: Controller | None = None

    @property
    def key(self) -> str:
        """What it is called in the simulated world."""
        return self.spec.key


def enter(candidates: Sequence[Candidate], stage: Stage) -> list[Contestant]:
    """Return the candidates ready to run, in order.

    Raises :class:`QuestionError` for one that is there twice, that nobody knows, or whose
    parameters can't be used.
    """
    entered: list[Contestant] = []
    for candidate in candidates:
        if candidate.label in {other.candidate.label for other in entered}:
            raise QuestionError(
                "bad_policy", f"'{candidate.label}' is there twice: leave one out", "policy"
            )
        if candidate.name in OURS:
            entered.append(_ours(candidate, stage))
        elif candidate.name in REFERENCES:
            entered.append(_reference(candidate, stage))
        else:
            raise QuestionError(
                "unknown_policy",
                f"there is no policy '{candidate.name}': choose from {', '.join(POLICY_NAMES)}",
                "policy",
            )
    return entered


_AS_PUBLISHED: Final = {
    "adapt": Adapt.OFF,
    "hold_s": 0.0,
    "margin_frac": 0.0,
    "drain_s": 0.0,
}
"""HeteroScale §4.1 alone: one window, one target, one ratio."""


def _ours(candidate: Candidate, stage: Stage) -> Contestant:
    if candidate.document is not None:
        return _documented(candidate, candidate.document, stage)
    driver = candidate.params.get("driver", "decode_tps")
    sized = _sized(driver, candidate, stage)
    if candidate.name == "proportional":
        sized = replace(sized, **_AS_PUBLISHED)  # type: ignore[arg-type]
    return _checked(candidate, _told(candidate, sized), stage)


def _documented(candidate: Candidate, document: Mapping[str, object], stage: Stage) -> Contestant:
    """Return a policy as a document has it; what it leaves out is that of a new service."""
    try:
        policy = policy_from(document, default_policy(stage.capacity))
    except DocumentError as fault:
        problem = f"{candidate.label}: {fault}"
        raise QuestionError("bad_policy", problem, "policy_file") from fault
    return _checked(candidate, policy, stage)


def _checked(candidate: Candidate, policy: PolicyConfig, stage: Stage) -> Contestant:
    spec = stage.spec(candidate.label, policy)
    where = "policy" if candidate.document is None else "policy_file"
    for problem in validate_spec(spec):
        raise QuestionError("bad_policy", f"{candidate.label}: {problem.message}", where)
    params = {name: getattr(policy, name) for name in PARAMETERS}
    return Contestant(candidate, spec, params)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(text)
    return text == "yes"


def _measured(text: str) -> float | None:
    return None if text == "measured" else float(text)


_KINDS: Final[Mapping[str, Callable[[str], float | str | bool | None]]] = {
    "name": str,
    "driver": str,
    "step_abs": int,
    "force_driver": _yes_or_no,
    "adapt": Adapt,
    "lead_s": _measured,
    "margin_frac": _measured,
}
_WANTED: Final = {
    "step_abs": "a whole number",
    "force_driver": "yes or no",
    "adapt": f"one of {', '.join(Adapt)}",
    "lead_s": "a number of seconds or 'measured'",
    "margin_frac": "a share or 'measured'",
}


def _sized(driver: str, candidate: Candidate, stage: Stage) -> PolicyConfig:
    """Return the policy before parameters; a driver of unknown capacity needs a target."""
    try:
        return default_policy(stage.capacity, driver)
    except KeyError:
        # A target that any driver may have, until the one that must be given takes its place.
        policy = replace(default_policy(stage.capacity), driver=driver, target=0.5)
    for problem in validate_spec(stage.spec(candidate.label, policy)):
        raise QuestionError("bad_policy", f"{candidate.label}: {problem.message}", "policy")
    if "target" not in candidate.params:
        raise QuestionError(
            "bad_policy",
            f"{candidate.label}: how much {driver} an instance sustains isn't known: add target=…",
            "policy",
        )
    return policy


def _told(candidate: Candidate, policy: PolicyConfig) -> PolicyConfig:
    """Return the policy with the candidate's parameters."""
    given: dict[str, float | str | bool | None] = {}
    for key, text in candidate.params.items():
        if key not in PARAMETERS:
            raise _no_such(candidate, key, PARAMETERS)
        given[key] = _read(candidate, key, text, _KINDS.get(key, float))
    return replace(policy, **given)  # type: ignore[arg-type]


def _reference(candidate: Candidate, stage: Stage) -> Contestant:
    reference = REFERENCES[candidate.name]
    params = {name: param.default for name, param in reference.params.items()}
    for key, text in candidate.params.items():
        if key not in params:
            raise _no_such(candidate, key, tuple(params))
        params[key] = float(_read(candidate, key, text, float))
    try:
        controller = reference.build(stage.briefing, params)
    except ValueError as error:
        raise QuestionError("bad_policy", f"{candidate.label}: {error}", "policy") from error
    spec = stage.spec(candidate.label, default_policy(stage.capacity))
    return Contestant(candidate, spec, params, controller)


def _read(candidate: Candidate, key: str, text: str, kind: Callable[[str], _T]) -> _T:
    try:
        return kind(text)
    except ValueError as error:
        what = _WANTED.get(key, "a number")
        raise QuestionError(
            "bad_policy", f"{candidate.label}: {key} is '{text}', {what} is wanted", "policy"
        ) from error


def _no_such(candidate: Candidate, key: str, known: Sequence[str]) -> QuestionError:
    text = f"{candidate.name} has no parameter '{key}'"
    return QuestionError("bad_policy", f"{text}: it has {', '.join(known) or 'none'}", "policy")
