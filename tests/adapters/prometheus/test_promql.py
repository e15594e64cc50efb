"""Leaves as text: the whole query for each way to know a service, and what is refused."""

from __future__ import annotations

import pytest

from controller.adapters.metrics.prometheus.parts import FIGURE, joined
from controller.adapters.metrics.prometheus.promql import (
    Ask,
    AttachError,
    Form,
    literal,
    query,
    quoted,
)
from controller.core.readings.asking import Scope
from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.recipe import Fold, Kind, Leaf
from controller.core.types import Role

SCOPE = Scope(["chat", "a.b"], 60)
HERE = r'service=~"chat|a\\.b"'
PLAIN = Leaf(("x",), Kind.GAUGE, Role.DECODE)
RANKS = Leaf(("x_total", "y"), Kind.COUNTER, None, (("source", "a|b"),), ("engine",))
GPUS = Leaf(("gpu",), Kind.GAUGE, Role.PREFILL, owner=("exported_pod", "pod"), below=2.0**53)
PODS = ByPod({Role.DECODE: r"(?P<service>.+)-decode-\d+"})


@pytest.mark.parametrize(
    ("leaf", "attach", "form", "want"),
    [
        pytest.param(
            PLAIN,
            ByLabels(),
            Form.VALUES,
            f'sum by (service) (max by (service,instance) (x{{{HERE},role="decode"}}))',
            id="labels",
        ),
        pytest.param(
            PLAIN,
            ByLabels("app", "engine_type", {Role.DECODE: "D"}, ("pod",), {"namespace": "llm"}),
            Form.NEWEST,
            "max by (app) (timestamp(x{"
            r'namespace=~"llm",app=~"chat|a\\.b",engine_type="D"}))',
            id="other labels",
        ),
        pytest.param(
            PLAIN,
            ByLabels(),
            Form.REPORTING,
            "count by (service) ((max by (service,instance)"
            f' (timestamp(x{{{HERE},role="decode"}}))) > time() - 60)',
            id="who has a gauge of now",
        ),
        pytest.param(
            RANKS,
            ByLabels(),
            Form.VALUES,
            "sum by (service) (max by (service,instance,engine)"
            f' (rate(x_total{{source=~"a|b",{HERE}}}[60s])) or on (service,instance)'
            f' max by (service,instance,engine) (rate(y{{source=~"a|b",{HERE}}}[60s])))',
            id="of an instance counts the first name it has",
        ),
        pytest.param(
            Leaf(("x",), Kind.GAUGE, None, apart=("engine",), within=Fold.MEAN, over=Fold.MOST),
            ByLabels(),
            Form.VALUES,
            "max by (service) (avg by (service,instance)"
            f" (max by (service,instance,engine) (x{{{HERE}}})))",
            id="the highest mean of an instance",
        ),
        pytest.param(
            Leaf(("x_bucket",), Kind.BUCKETS, None),
            ByLabels(),
            Form.REPORTING,
            "count by (service) ((group by (service,instance)"
            f' (rate(x_bucket{{le="+Inf",{HERE}}}[60s]))) unless (group by (service,instance)'
            f' ((resets(x_bucket{{le="+Inf",{HERE}}}[60s]) > 0))))',
            id="who has a rate and was not restarted, by one bucket of all",
        ),
        pytest.param(
            Leaf(("x_bucket", "y_bucket"), Kind.BUCKETS, None),
            ByLabels(),
            Form.VALUES,
            "sum by (service,le) (sum by (service,le) (max by (service,instance,le)"
            f" (rate(x_bucket{{{HERE}}}[60s]))) or label_replace(sum by (service,le)"
            f" (max by (service,instance,le) (rate(y_bucket{{{HERE}}}[60s])"
            f' unless on (service,instance) (x_bucket{{le="+Inf",{HERE}}}))),'
            ' "heteroscale_name", "1", "", ""))',
            id="of many buckets counts the first name of an instance",
        ),
        pytest.param(
            Leaf(("x_bucket", "y_bucket"), Kind.BUCKETS, None, apart=("engine",)),
            ByLabels(),
            Form.AGAIN,
            "count((count by (service,instance,engine)"
            f' (rate(x_bucket{{le="+Inf",{HERE}}}[60s])) > 1)'
            " or (count by (service,instance,engine)"
            f' (rate(y_bucket{{le="+Inf",{HERE}}}[60s])) > 1))',
            id="whether one bucket of an instance is there twice",
        ),
        pytest.param(
            PLAIN,
            ByInfo(),
            Form.VALUES,
            "sum by (service) (max by (service,instance) (x{} * on (namespace,pod) group_left"
            " (service) topk by (namespace,pod) (1, group by (namespace,pod,service)"
            f' (heteroscale_instance_info{{{HERE},role="decode"}}))))',
            id="a join",
        ),
        pytest.param(
            PLAIN,
            PODS,
            Form.VALUES,
            "sum by (heteroscale_service) (max by (heteroscale_service,instance) (label_replace("
            r'x{pod=~"(?:(?P<service>.+)-decode-\\d+)"}, "heteroscale_service", "$1",'
            r' "pod", "(?P<service>.+)-decode-\\d+")))',
            id="the pod's name",
        ),
    ],
)
def test_a_leaf_is_asked_for(leaf: Leaf, attach: Attach, form: Form, want: str) -> None:
    assert query(Ask(leaf, attach, form), SCOPE) == want


def test_of_an_exporter_the_owner_is_the_instance_and_blanks_are_none() -> None:
    text = query(Ask(GPUS, ByInfo(), Form.VALUES), SCOPE)
    assert "(gpu{} unless (gpu{} >= 9007199254740992))" in text
    assert "max by (service,heteroscale_owner_namespace,heteroscale_owner)" in text
    assert text.index('"pod", "(.+)"') < text.index('"exported_pod", "(.+)"')
    assert '"heteroscale_owner_namespace", "$1", "exported_namespace"' in text


def test_several_are_one_query_in_halves() -> None:
    text = joined([Ask(PLAIN, ByLabels(), form) for form in FIGURE], Scope(["chat"], 60))
    assert text.startswith("(label_replace(sum by (service) (max by")
    assert [text.count(f'"heteroscale_leaf", "{at}", "", "")') for at in range(4)] == [1, 1, 1, 0]
    assert text.count(" or (label_replace(") == 1


def test_many_services_are_known_by_having_one() -> None:
    text = query(Ask(PLAIN, ByLabels(), Form.VALUES), Scope([f"s{at}" for at in range(201)], 60))
    assert 'x{service!="",role="decode"}' in text


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('a"b', r'"a\"b"'),
        ("a\\d", r'"a\\d"'),
        ("a\nb", r'"a\nb"'),
        ("ü", '"ü"'),
    ],
)
def test_text_in_quotes_means_itself(text: str, want: str) -> None:
    assert quoted(text) == want


def test_a_name_matches_itself_alone() -> None:
    assert literal("a.b|c(1)$-_") == r"a\.b\|c\(1\)\$-_"


@pytest.mark.parametrize(
    ("leaf", "attach", "said"),
    [
        (Leaf(("x y",), Kind.GAUGE, None), ByLabels(), "'x y' is no name of a metric"),
        (Leaf(("x\n",), Kind.GAUGE, None), ByLabels(), "no name of a metric"),
        (PLAIN, ByLabels(service="a-b"), "'a-b' is no name of a label"),
        (PLAIN, ByLabels(role='r="",x'), "no name of a label"),
        (PLAIN, ByLabels(only={"": "x"}), "no name of a label"),
        (PLAIN, ByLabels(instance=("a) or (b",)), "no name of a label"),
        (PLAIN, ByPod({Role.PREFILL: "(?P<service>x)"}), "which pods are decode"),
        (PLAIN, ByPod({Role.DECODE: "(x"}), "can't be read"),
        (PLAIN, ByPod({Role.DECODE: "(x)"}), "has no group"),
        (PLAIN, ByLabels(roles={Role.PREFILL: "p"}), "No label value tells which are decode"),
    ],
)
def test_what_can_break_out_or_mean_nothing_is_refused(
    leaf: Leaf, attach: Attach, said: str
) -> None:
    with pytest.raises(AttachError, match=said):
        query(Ask(leaf, attach, Form.VALUES), SCOPE)


def test_a_frontend_is_of_the_pods_of_either_role_without_a_pattern_of_its_own() -> None:
    both = {role: f"(?P<service>.+)-{role}-.*" for role in Role}
    leaf = PLAIN.of(None)
    assert query(Ask(leaf, ByPod(both), Form.VALUES), SCOPE).count("label_replace(") == 2
    own = ByPod({**both, None: "(?P<service>.+)-front"})
    assert query(Ask(leaf, own, Form.VALUES), SCOPE).count("label_replace(") == 1
