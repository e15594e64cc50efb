"""What takes a second approver, and what a rule lets through by itself."""

from datetime import UTC, datetime, time

import pytest

from controller.core.approval import Change, approvers_needed
from controller.core.approval_rules import Direction, Facts, Rule, Within, passes
from controller.core.types import Instances

SUNDAY_NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
PER = Instances(2, 2)


def change(before: tuple[int, int], after: tuple[int, int], **other: object) -> Change:
    return Change(Instances(*before), Instances(*after), **{"gpus_per_instance": PER} | other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "needs"),
    [
        pytest.param(change((20, 40), (20, 72)), 1, id="32 x 2 = 64 GPUs are not more than 64"),
        pytest.param(change((20, 40), (21, 72)), 2, id="33 x 2 = 66 GPUs"),
        pytest.param(change((20, 40), (36, 23)), 2, id="out 16 and in 17: 66 GPUs change hands"),
        pytest.param(change((2, 4), (2, 8)), 1, id="4 of 8 is half, not more"),
        pytest.param(change((2, 4), (2, 9)), 2, id="5 of 9 is more than half"),
        pytest.param(change((2, 8), (2, 4)), 1, id="4 of 8 go"),
        pytest.param(change((2, 8), (2, 3)), 2, id="5 of 8 go"),
        pytest.param(change((1, 4), (0, 4)), 2, id="the last prefill instance"),
        pytest.param(change((4, 8), (4, 7)), 1, id="1 of 8 goes"),
        pytest.param(change((4, 8), (4, 7), is_breaching=True), 2, id="1 goes, over the SLO"),
        pytest.param(change((4, 8), (4, 9), is_breaching=True), 1, id="1 comes, over the SLO"),
        pytest.param(
            change((9, 3), (7, 3), then=Instances(7, 7)), 2, id="the second half: 4 of 7"
        ),
    ],
)
def test_a_second_approver_is_needed_for_what_is_large(asked: Change, needs: int) -> None:
    found, why = approvers_needed(asked)
    assert found == needs
    assert bool(why) == (needs == 2)


def test_without_a_limit_any_number_of_gpus_takes_one() -> None:
    assert approvers_needed(change((200, 400), (200, 600)), most_gpus=None) == (1, "")


S1, S2 = Rule(within=Within.S1), Rule(within=Within.S2)
OUT = change((4, 8), (4, 10))
IN = change((4, 8), (4, 7))


@pytest.mark.parametrize(
    ("rule", "facts", "let"),
    [
        pytest.param(Rule(), Facts(OUT), True, id="scale-out"),
        pytest.param(Rule(), Facts(IN), False, id="scale-in under a rule of scale-out"),
        pytest.param(S1, Facts(OUT, levels=("s1", "s1")), True, id="both under one S1"),
        pytest.param(S1, Facts(OUT, levels=("s1", "s2")), False, id="one of them under the S2"),
        pytest.param(S1, Facts(OUT), False, id="placed nowhere is not known to be under one S1"),
        pytest.param(S2, Facts(OUT, levels=("s1", "s2")), True, id="S1 is within S2"),
        pytest.param(S2, Facts(OUT, levels=("cluster",)), False, id="across S2 domains"),
        pytest.param(
            Rule(Direction.IN, within=Within.S1), Facts(IN), True, id="what goes leaves no domain"
        ),
        pytest.param(Rule(Direction.IN), Facts(IN), True, id="scale-in"),
        pytest.param(Rule(Direction.IN), Facts(OUT), False, id="out under a rule of scale-in"),
        pytest.param(Rule(Direction.ANY), Facts(IN), True, id="both ways"),
        pytest.param(
            Rule(), Facts(change((4, 8), (3, 8), then=Instances(3, 9))), False, id="an exchange"
        ),
        pytest.param(Rule(most_gpus=4), Facts(OUT), True, id="2 x 2 GPUs of 4"),
        pytest.param(Rule(most_gpus=3), Facts(OUT), False, id="2 x 2 GPUs of 3"),
        pytest.param(Rule(most_frac=0.25), Facts(OUT), True, id="2 of 8 is 0.25"),
        pytest.param(Rule(most_frac=0.24), Facts(OUT), False, id="2 of 8 of 0.24"),
        pytest.param(Rule(Direction.ANY), Facts(OUT, needs=2), False, id="two people"),
        pytest.param(Rule(Direction.ANY), Facts(OUT, breaker_open=True), False, id="breaker"),
        pytest.param(Rule(Direction.ANY), Facts(IN, is_beyond_budget=True), False, id="S4"),
        pytest.param(
            Rule(Direction.ANY),
            Facts(change((4, 8), (4, 7), is_breaching=True)),
            False,
            id="scale-in while over the SLO",
        ),
    ],
)
def test_a_rule_lets_through_what_is_within_all_its_limits(
    rule: Rule, facts: Facts, *, let: bool
) -> None:
    assert passes(rule, facts, SUNDAY_NIGHT) == let


@pytest.mark.parametrize(
    ("rule", "let"),
    [
        pytest.param(Rule(begin=time(22), end=time(6)), True, id="23:30 of 22 to 6"),
        pytest.param(Rule(begin=time(6), end=time(22)), False, id="23:30 of 6 to 22"),
        pytest.param(Rule(begin=time(23, 30), end=time(23, 31)), True, id="from its minute on"),
        pytest.param(Rule(begin=time(23), end=time(23, 30)), False, id="until before its minute"),
        pytest.param(Rule(days=(6,)), True, id="Sunday"),
        pytest.param(Rule(days=(0, 5)), False, id="Monday and Saturday"),
        pytest.param(
            Rule(begin=time(22), end=time(6), days=(6,), time_zone="Asia/Tokyo"),
            False,
            id="08:30 on Monday in Tokyo",
        ),
        pytest.param(
            Rule(begin=time(22), end=time(6), days=(6,), time_zone="Europe/Helsinki"),
            True,
            id="01:30 on Monday in Helsinki, of the window that began on Sunday",
        ),
        pytest.param(
            Rule(begin=time(22), end=time(6), days=(0,), time_zone="Europe/Helsinki"),
            False,
            id="01:30 on Monday in Helsinki is not of the window of Monday",
        ),
    ],
)
def test_a_rule_holds_at_its_time_of_day(rule: Rule, *, let: bool) -> None:
    assert passes(rule, Facts(OUT), SUNDAY_NIGHT) == let
