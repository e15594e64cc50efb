"""Queries of the operator's own: what may be written, what is filled in, what they read."""

from __future__ import annotations

import pytest

from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.written import (
    LONGEST_QUERY,
    WrittenError,
    check_written,
    filled,
    parsed,
    remarks_on,
)
from controller.core.types import Role

DECODED = 'sum(rate(tokens_total{service="$service",role="decode"}[$window]))'


@pytest.mark.parametrize(
    ("text", "scalar", "selectors"),
    [
        (DECODED, False, ['tokens_total{role="decode",service="$service"}']),
        ('scalar(x{a="$service"}) * 2', True, ['x{a="$service"}']),
        ("sum(x) # why not\n / sum(y)", False, ["x", "y"]),
        ("x{a='it\\'s',b=`\\d+`,c=\"q0\"}", False, ["x{a='it\\'s',b=`\\d+`,c=\"q0\"}"]),
        ('{__name__=~"a|b"}', False, ['{__name__=~"a|b"}']),
        ("topk(scalar(y), x)", False, ["x", "y"]),
        ("sum(rate(x[5m])) or vector(0)", False, ["x"]),
    ],
)
def test_what_a_query_reads(text: str, scalar: bool, selectors: list[str]) -> None:  # noqa: FBT001
    query = parsed(text)
    found = [",".join(sorted(each.text.split(","))) for each in query.selectors]
    want = [",".join(sorted(each.split(","))) for each in selectors]
    assert (query.scalar, sorted(found)) == (scalar, sorted(want))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Nothing is written"),
        ("# all of it", "Nothing is written"),
        ("3 * 2", "reads no series"),
        ("time()", "reads no series"),
        ('"x"', "gives no number"),
        ("x[5m]", r"range: wrap it, as in rate\(x\[\$window\]\)"),
        ("sum(x", r"At letter 4: \( is not closed"),
        ("sum(x))", r"At letter 7: \) closes nothing"),
        ("sum(x]", r"At letter 6: \] closes nothing"),
        ('x{a="b}', 'At letter 5: the quote " is not closed'),
        ("x; y", "At letter 2: ';' is not of the language"),
        ("x y", "can't be read"),
        ("2 * rate(x)", r"At letter 5: rate needs a range: rate\(x\[\$window\]\)"),
        ("2 * foo(x)", "At letter 5: foo is no function"),
        ("rate(x[$__rate_interval])", r"\$__rate_interval is not known here: write \$window"),
        ("x / $window", r"At letter 5: \$window stands in brackets"),
        ("x{a=$service}", r'At letter 5: \$service stands in quotes: \{service="\$service"\}'),
        ("x offset 1m", "With offset it reads samples of another time"),
        ("rate(x[1m] offset -1m)", "With offset"),
        ("x @ end()", "With @ it reads"),
        ("max_over_time(rate(x[1m])[10m:])", "subquery hides how old"),
        ("rate(x[2h])", "at most 1:00:00"),
        ("(" * 41 + "x" + ")" * 41, "more than 40 brackets"),
        ("x" * (LONGEST_QUERY + 1), "has 4,001 letters, 4,000 are allowed"),
    ],
)
def test_what_can_not_be_used_is_refused_with_what_to_do(text: str, said: str) -> None:
    with pytest.raises(WrittenError, match=said):
        check_written(text)


@pytest.mark.parametrize(
    ("text", "service", "want"),
    [
        (DECODED, "chat", 'sum(rate(tokens_total{service="chat",role="decode"}[60s]))'),
        ('x{a="$service"}', 'a"b\\', 'x{a="a\\"b\\\\"}'),
        ("x{a='$service'}", "it's", "x{a='it\\'s'}"),
        ('x{a=~"$service-.+"}', "a.b|c", 'x{a=~"a\\\\.b\\\\|c-.+"}'),
        ("x{a=~`$service`}", "a.b", "x{a=~`a\\.b`}"),
        ('x{a!~"$service"}', "$window", 'x{a!~"\\\\$window"}'),
        ('x{a="$services",b="$window"}', "chat", 'x{a="$services",b="$window"}'),
        ('x{a="y} or z{",b="$service"}', '"} or w{a="', 'x{a="y} or z{",b="\\"} or w{a=\\""}'),
    ],
)
def test_a_name_filled_in_means_itself(text: str, service: str, want: str) -> None:
    assert filled(text, service, 60) == want


def test_no_name_ends_a_string_in_backquotes() -> None:
    with pytest.raises(WrittenError, match="can't stand in backquotes"):
        filled("x{a=`$service`}", "a`b", 60)


@pytest.mark.parametrize(
    ("text", "attach", "tells"),
    [
        (DECODED, ByLabels(), True),
        (DECODED, ByLabels(role="engine_type"), False),
        ('x{service="$service"}', ByLabels(), False),
        ('x{pod=~"$service-decode-.*"}', ByPod({Role.DECODE: "(?P<service>.+)-decode-.*"}), True),
        (
            'x * on (namespace, pod) heteroscale_instance_info{service="$service",role="decode"}',
            ByInfo(),
            True,
        ),
        ('x{role="decode"}', ByInfo(), False),
    ],
)
def test_instances_are_counted_where_a_role_is_told(
    text: str,
    attach: Attach,
    tells: bool,  # noqa: FBT001
) -> None:
    assert parsed(text).tells_role(attach) is tells


def test_the_operator_is_told_what_a_query_does_not_say() -> None:
    assert remarks_on(DECODED, ByLabels()) == ()
    assert [text.split(":")[0] for text in remarks_on("sum(x)", ByLabels())] == [
        "It does not name $service",
        "It reads no series of one role",
    ]
