"""Queries of the operator's own and who reports, as a real Prometheus answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from controller.adapters.metrics.prometheus.client import Endpoint
from controller.adapters.metrics.prometheus.reader import read
from controller.adapters.metrics.prometheus.who import who
from controller.core.readings.asking import Grid, Reading, Scope, Wanted
from controller.core.readings.attach import Attach, ByInfo, ByLabels
from controller.core.readings.cook import cook
from controller.core.readings.recipe import Kind, Leaf, Term, Times, Written
from controller.core.readings.tables import WHOLE, Table
from controller.core.types import Role
from tests.adapters.prometheus.conftest import turn
from tests.adapters.prometheus.fleets import TOKENS, WAITING
from tests.prometheus import NOW_S, STEP_S

MINE = '{service="$service",role="decode"}'
TPS = Written(f"sum(rate({TOKENS}{MINE}[$window]))")
QUEUE = Written(f"sum({WAITING}{MINE})")
DECODED = Leaf((TOKENS,), Kind.COUNTER, Role.DECODE, apart=("engine",))
QUEUED = Leaf((WAITING,), Kind.GAUGE, Role.DECODE, apart=("engine",))


def _wanted(terms: Mapping[Term, Attach], services: Sequence[str]) -> Wanted:
    return Wanted(terms, Scope(services, 4 * STEP_S), Grid(NOW_S, STEP_S, 4))


def _read(base: str, terms: Mapping[Term, Attach], services: Sequence[str]) -> Reading:
    return read(Endpoint("test", base), _wanted(terms, services), turn())


def _newest(table: object, row: int = 0) -> tuple[float, float, int]:
    assert isinstance(table, Table)
    return table.values[row, -1], NOW_S - table.at_s[row, -1], int(table.reporting[row, -1])


@pytest.mark.parametrize(
    ("service", "text", "want"),
    [
        pytest.param("half-renamed", TPS.text, (10, 0, 1), id="one of two has the name"),
        pytest.param(
            "half-renamed",
            f"sum(rate({{__name__=~`{TOKENS}(_v2)?`,service='$service',role='decode'}}[$window]))",
            (30, 0, 2),
            id="both names",
        ),
        pytest.param("restarted", TPS.text, (20, 0, 1), id="the restarted one is not heard, M11"),
        pytest.param("first-scrape", TPS.text, (10, 0, 1), id="a first scrape has no rate"),
        pytest.param("gap", TPS.text, (20, 0, 1), id="one fell silent"),
        pytest.param("idle", TPS.text, (0, 0, 1), id="0 is a value"),
        pytest.param("gap", f"{QUEUE.text} + {TPS.text}", None, id="a part is not there"),
        pytest.param(
            "idle",
            f"scalar({TPS.text}) + 3 # two digits\n",
            (3, 0, 1),
            id="a number without labels",
        ),
        pytest.param(
            "gap", f'sum(rate({TOKENS}{{service="$service"}}[$window]))', (20, 0, WHOLE), id="all"
        ),
        pytest.param("nobody", TPS.text, None, id="no series"),
    ],
)
def test_a_written_query_is_a_figure_with_age_and_instances(
    served: str, service: str, text: str, want: tuple[float, float, int] | None
) -> None:
    reading = _read(served, {Written(text): ByLabels()}, [service])
    if want is None:
        assert reading == Reading({})
    else:
        found = _newest(reading.leaves[Written(text)])
        assert found == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize(
    ("service", "want"),
    [
        pytest.param("quiet", (7, 120, 0), id="a gauge of 120 s ago, M07"),
        pytest.param("not-a-number", (float("nan"), 0, 2), id="NaN stays what it is"),
    ],
)
def test_what_a_query_makes_of_what_is_old_or_no_number(
    prometheus: str, service: str, want: tuple[float, float, int]
) -> None:
    reading = _read(prometheus, {QUEUE: ByLabels()}, [service])
    assert _newest(reading.leaves[QUEUE]) == pytest.approx(want, nan_ok=True)


def test_a_bad_query_costs_no_other_and_says_what_to_do(served: str) -> None:
    several = Written(f"rate({TOKENS}{MINE}[$window])")
    broken = Written("sum(")
    refused = Written(f"sum({TOKENS}{{service=~'$service('}})")
    terms = dict.fromkeys((DECODED, several, TPS, refused, broken), ByLabels())
    reading = _read(served, terms, ["two-engines", "idle"])
    assert reading.leaves.keys() == {DECODED, several, TPS}
    assert _newest(reading.leaves[TPS]) == (pytest.approx(15), 0, 1)
    # It is one series for the other service, which is as good as it gets.
    table = reading.leaves[several]
    assert isinstance(table, Table)
    assert table.present.any(axis=1).tolist() == [False, True]
    told = "\n".join(reading.told)
    assert "two-engines: rate(vllm:generation_tokens_total" in told
    assert "gives 2 series: wrap it in sum(…) or max(…)." in told
    assert "At letter 4: ( is not closed." in told
    assert "error parsing regexp" in told


def test_it_is_asked_for_the_services_that_wrote_it(served: str) -> None:
    wanted = _wanted({TPS: ByLabels()}, ["idle", "two-jobs", "two-engines"])
    wanted = Wanted(wanted.leaves, wanted.scope, wanted.grid, {TPS: {"two-engines"}})
    table = read(Endpoint("test", served), wanted, turn()).leaves[TPS]
    assert isinstance(table, Table)
    assert table.present[:, -1].tolist() == [False, False, True]
    cooked = cook(Times(TPS, 2), {TPS: table}, (3, 4))
    assert _newest(cooked, 2) == (pytest.approx(30), 0, 1)


def test_pods_that_are_joined_are_those_that_are_counted(served: str) -> None:
    info = 'heteroscale_instance_info{service="$service",role="decode"}'
    text = f"sum({WAITING} * on (namespace, pod) group_left () group by (namespace, pod) ({info}))"
    reading = _read(served, {Written(text): ByInfo()}, ["joined"])
    assert reading.told == ()
    assert _newest(reading.leaves[Written(text)]) == (9, 0, 2)


def test_who_reports_is_told_by_name(served: str) -> None:
    names = who(
        Endpoint("test", served),
        _wanted(
            {
                DECODED: ByLabels(),
                QUEUED: ByLabels(instance=("namespace", "instance")),
                TPS: ByLabels(),
            },
            ["restarted", "gap", "elsewhere", "idle"],
        ),
        turn(),
    )
    # a of one was restarted, a of the other fell silent: neither is heard of.
    rates = {"restarted": {"b"}, "gap": {"b"}, "idle": {"a"}}
    assert names == {
        DECODED: rates,
        QUEUED: {"elsewhere": {"ours/a", "theirs/b"}},
        TPS: rates,
    }


def test_who_reports_behind_a_join_is_told_by_pod(served: str) -> None:
    terms: dict[Term, Attach] = {QUEUED: ByInfo(instance=("pod",))}
    names = who(Endpoint("test", served), _wanted(terms, ["joined"]), turn())
    assert names == {QUEUED: {"joined": {"joined-decode-0", "joined-decode-1"}}}


def test_nobody_is_named_where_nobody_answers() -> None:
    wanted = _wanted({DECODED: ByLabels(), TPS: ByLabels()}, ["idle"])
    assert who(Endpoint("test", "http://127.0.0.1:1"), wanted, turn()) == {}
