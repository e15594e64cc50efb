"""What switches between prefill and decode cost: transfer times, and TTFT at load."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np

from benchmarks.study.ratio import Case, formula_rps, poisson
from controller.core.types import Counts, Floats, Instances
from controller.simulator.exact import Outcome, simulate
from controller.simulator.fleet import Fleet
from controller.simulator.links import Links, line_bytes_s, sent_bytes_per_token
from controller.simulator.model import Fabric, NodeSpec, ServiceModel
from controller.simulator.transfer import H800_NODES, kv_transfer_s
from controller.simulator.workload import Requests

MIB: Final = 2.0**20
USUAL: Final = Fabric()

PLACES: Final = {
    "same S1": ("a", "x"),
    "same S2": ("b", "x"),
    "across S2": ("b", "y"),
}
"""The S1 and S2 of the decode instances; prefill is under S1 ``a`` of S2 ``x``."""


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One prompt of the measured table, alone on the network, at each distance [ms].

    ``across_of_ttft_frac`` is what the way across S2 adds to the measured TTFT.
    """

    prompt_tokens: int
    kv_mib: float
    measured: float
    same_s1: float
    same_s2: float
    across_s2: float
    across_of_ttft_frac: float


@dataclass(frozen=True, slots=True)
class LoadRow:
    """A service at load with decode at one distance.

    ``fullest`` is the mean share of its rate of the fullest link, cards or uplinks; times in ms.
    """

    place: str
    oversubscription: float
    fullest: float
    transfer_p50: float
    transfer_p95: float
    ttft_p50: float
    ttft_p95: float


def size_rows(measured: Sequence[tuple[int, float, float, float]]) -> list[SizeRow]:
    """Return the transfer of each measured prompt; each is tokens, MiB, transfer, TTFT [ms]."""
    rows = []
    for tokens, mib, transfer_ms, ttft_ms in measured:
        near, same_s2, across = (
            float(kv_transfer_s(mib * MIB, replace(H800_NODES, bytes_s=H800_NODES.bytes_s * part)))
            * 1e3
            for part in (1.0, USUAL.same_s2_frac, USUAL.across_s2_frac)
        )
        added = (across - near) / ttft_ms
        rows.append(SizeRow(tokens, mib, transfer_ms, near, same_s2, across, added))
    return rows


@dataclass(frozen=True, slots=True)
class _Run:
    """Requests of a service, what each sends [bytes] and the second in which it does."""

    service: ServiceModel
    requests: Requests
    sent: Floats
    second: Counts

    def outcome(self, transfer_s: Floats | float) -> Outcome:
        """Serve the requests with these transfers."""
        service = self.service
        plan = [(0.0, service.initial)]
        return simulate(
            self.requests, service.prefill, service.decode, plan, transfer_s=transfer_s
        )


def load_rows(
    of: Case, prefill: int, load_frac: float, over: Sequence[float], *, seconds: float
) -> list[LoadRow]:
    """Return TTFT with decode at each distance and uplinks of each oversubscription.

    ``prefill`` instances under one S1 and decode instances at the best ratio take ``load_frac``
    of what they sustain by formula, request by request. The transfers of a second share the
    links of that second.
    """
    one = of.capacity()
    split = Instances(prefill, ceil(prefill / one.pd_ratio))
    rps = load_frac * formula_rps(one, split)
    requests = poisson(of.workload, rps, seconds, np.random.default_rng(1))
    service = ServiceModel("service", "here", of.prefill, of.decode, of.workload, split)
    sent = requests.input_tokens * sent_bytes_per_token(service)
    run = _Run(service, requests, sent, requests.t_s.astype(np.int64))
    prefill_s = run.outcome(0.0).prefill_s
    run = replace(run, second=(requests.t_s + prefill_s).astype(np.int64))
    ways = [("same S1", over[0])]
    ways += [(place, factor) for place in ("same S2", "across S2") for factor in over]
    return [_row(run, place, factor) for place, factor in ways]


def _row(run: _Run, place: str, oversubscription: float) -> LoadRow:
    fabric = Fabric(s1_oversubscription=oversubscription, s2_oversubscription=oversubscription)
    links = Links.of(_fleet(run.service, place), [run.service], fabric)
    bytes_s = np.bincount(run.second, run.sent)
    factors = np.array([_factor(links, sent) for sent in bytes_s])[run.second]
    service = run.service
    alone_s = run.sent * (1 - service.transfer.overlap_frac) / line_bytes_s(service)
    transfer_s = service.transfer.setup_s + alone_s * factors
    ttft_s = run.outcome(transfer_s).ttft_s
    judged = run.requests.t_s >= run.requests.t_s[-1] / 4
    return LoadRow(
        place,
        oversubscription,
        1 - _factor(links, 0.0) / _factor(links, float(bytes_s.mean())),
        *(float(ms) for ms in np.quantile(transfer_s[judged], (0.5, 0.95)) * 1e3),
        *(float(ms) for ms in np.nanquantile(ttft_s[judged], (0.5, 0.95)) * 1e3),
    )


def _factor(links: Links, bytes_s: float) -> float:
    return float(links.delay_factor(np.array([bytes_s]))[0])


def _fleet(service: ServiceModel, place: str) -> Fleet:
    """Return a fleet with prefill alone on nodes under S1 ``a``, decode on nodes at ``place``."""
    first = service.initial.prefill * service.prefill.tp // 8
    second = ceil(service.initial.decode * service.decode.tp / 8)
    nodes = [
        NodeSpec(f"p-{at:02}", "here", service.prefill.hardware, "a", "x", 8)
        for at in range(first)
    ]
    s1, s2 = PLACES[place]
    nodes += [
        NodeSpec(f"z-{at:02}", "here", service.decode.hardware, s1, s2, 8) for at in range(second)
    ]
    made = Fleet(nodes, seed=1)
    made.add(service, 0.0)
    return made
