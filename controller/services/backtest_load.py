"""From what was asked to the question: the load, the engines and the candidates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from controller.core.backtest_states import Source
from controller.models import Backtest
from controller.services import traces
from controller.services.backtests import CURATED, Load
from controller.simulator import curation
from controller.simulator.backtest.ask import Asked, question_from
from controller.simulator.backtest.question import Question, QuestionError
from controller.simulator.curation import CurationQuestion
from controller.simulator.profiles import Profile
from controller.simulator.recorded import TooLittleRecordedError
from controller.simulator.workload import (
    Generator,
    RequestTrace,
    TraceError,
    WindowTrace,
    Workload,
)

DOCUMENTS: Final = "documents"
"""Where a backtest keeps policies that no parameters can hold, by their labels."""

RecordedLoad = Callable[[UUID, datetime, datetime], Workload]


@dataclass(frozen=True, slots=True)
class Sources:
    """What questions are made of beside their own words: engine profiles, and recordings.

    ``recorded`` is given a service and two times and raises :class:`TooLittleRecordedError` when
    too little is known of them.
    """

    profiles: Mapping[str, Profile]
    recorded: RecordedLoad


def load_of_row(row: Backtest) -> Load:
    """Return the load a row says is played."""
    return Load(
        Source(row.source),
        row.load_name,
        trace=row.trace,
        service=row.service,
        since=row.recorded_since,
        until=row.recorded_until,
        generator=row.generator,
    )


def question_of(
    asked: Mapping[str, Any], load: Load, sources: Sources
) -> Question | CurationQuestion:
    """Return the question, that of a curation where ``asked`` says so.

    Raises :class:`QuestionError` naming the field that is at fault.
    """
    workload = workload_of(load, asked["rate_scale"], sources.recorded)
    wanted = asked_of(asked)
    if load.since is not None:
        wanted = replace(wanted, begins_s=load.since.timestamp())
    question = question_from(wanted, workload, sources.profiles)
    return CurationQuestion(question, **asked[CURATED]) if CURATED in asked else question


def check(asked: Mapping[str, Any], load: Load, sources: Sources) -> None:
    """Raise :class:`QuestionError` for what could not be played, before anybody waits for it."""
    curation.check(question_of(asked, load, sources))


def asked_of(asked: Mapping[str, Any]) -> Asked:
    """Return the engine's part of what was asked."""
    return Asked(
        policies=tuple(asked["policies"]),
        profile=asked["profile"],
        decode_profile=asked["decode_profile"] or None,
        hours=asked["hours"],
        start_up_s=asked["start_up_s"],
        ttft_slo_s=asked["ttft_slo_s"],
        tbt_slo_s=asked["tbt_slo_s"],
        max_gpus=asked["max_gpus"],
        seed=asked["seed"],
        fidelity=asked["fidelity"],
        documents=asked.get(DOCUMENTS, {}),
    )


def workload_of(load: Load, scale: float, recorded: RecordedLoad) -> Workload:
    """Return the load at ``scale`` times its rate."""
    if load.trace is not None:
        try:
            return traces.load_of(load.trace, scale)
        except TraceError as fault:
            raise QuestionError("bad_trace", str(fault), "trace") from fault
    if load.generator is not None:
        return Generator(**load.generator, scale=scale)  # type: ignore[arg-type]
    return _scaled(_recording(load, recorded), scale)


def _recording(load: Load, recorded: RecordedLoad) -> Workload:
    if load.service is None or load.since is None or load.until is None:
        raise QuestionError("no_service", "The service is gone: choose another load.", "service")
    try:
        return recorded(load.service.pk, load.since, load.until)
    except TooLittleRecordedError as fault:
        raise QuestionError("too_little_recorded", str(fault), "recorded_hours") from fault


def _scaled(workload: Workload, scale: float) -> Workload:
    if isinstance(workload, RequestTrace | WindowTrace | Generator):
        return replace(workload, scale=workload.scale * scale)
    raise TypeError(f"{type(workload).__name__} has no rate to scale")
