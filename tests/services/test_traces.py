"""Uploaded traces: every layout of a file is kept once, and played as it is."""

import gzip
from functools import partial
from typing import Final

import pytest
from django.conf import LazySettings
from django.db import IntegrityError, transaction

from controller.models import AuditEvent, Trace
from controller.selectors.backtests import trace_line
from controller.services import traces
from controller.services.errors import ForbiddenError, TooManyError
from controller.simulator.workload import TraceError, facts
from tests.backtests import make_trace
from tests.services.people import at_once, person

pytestmark = pytest.mark.django_db

REQUESTS: Final = b"t_s,input_tokens,output_tokens\n0,1000,200\n1,900,100\n2,1100,150\n"
LENGTHS: Final = b"input_tokens,output_tokens\n1000,200\n900,100\n"
WINDOWS: Final = (
    b"t_s,rate_rps,mean_input_tokens,mean_output_tokens\n0,2,1000,200\n600,4,1000,200\n"
)
LAYOUTS: Final = [
    pytest.param(
        REQUESTS,
        ("requests", 3, 3.0),
        "up.csv: 3 requests over 3 s",
        (1.0, "recorded", "recorded"),
        id="requests: 3 in 3 s are 1 request/s",
    ),
    pytest.param(
        LENGTHS,
        ("lengths", 2, None),
        "up.csv: 2 lengths without times, played at 1 request/s",
        (
            1.0,
            "resampled: Poisson arrivals at 1 req/s, lengths of a row",
            "recorded",
        ),
        id="lengths without times: 1 request/s",
    ),
    pytest.param(
        WINDOWS,
        ("windows", 2, 1200.0),
        "up.csv: 2 windows over 20 min",
        (3.0, "resampled: Poisson arrivals", "log-normal (assumed: no length quantiles)"),
        id="windows: 2 and 4 are 3 requests/s on average",
    ),
]


@pytest.mark.parametrize(("csv", "row", "words", "told"), LAYOUTS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_every_layout_is_kept_and_can_be_played(
    csv: bytes,
    row: tuple[object, ...],
    words: str,
    told: tuple[float, str, str],
    packed: bool,  # noqa: FBT001
) -> None:
    data = gzip.compress(csv) if packed else csv
    kept = traces.keep("up.csv", data, user=person("otto", "Operator"))

    assert (kept.kind, kept.rows, kept.span_s) == row
    assert trace_line(kept).words == words
    said = facts(traces.load_of(kept, 2.0))
    rate_rps, requests, lengths = told
    assert (said["mean_rps"], said["lengths"]) == (2 * rate_rps, lengths)
    assert str(said["requests"]).startswith(requests)


def test_the_same_content_is_one_row_and_one_entry_of_the_audit() -> None:
    otto, ana = person("otto", "Operator"), person("ana", "Operator")
    first = traces.keep("mine.csv", REQUESTS, user=otto)
    again = traces.keep("hers.csv.gz", gzip.compress(REQUESTS), user=ana)

    assert (again.pk, again.name, again.uploaded_by) == (first.pk, "mine.csv", otto)
    event = AuditEvent.objects.get(verb="uploaded a trace")
    assert (event.actor, event.after) == (
        "otto",
        {"name": "mine.csv", "sha256": first.sha256, "rows": 3},
    )


def test_of_two_traces_a_person_may_keep_the_third_is_refused_and_known_ones_are_not(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    monkeypatch.setattr(traces, "MOST_EACH", 2)
    settings.KEEP_BACKTESTS_D = 30
    otto, ana = person("otto", "Operator"), person("ana", "Operator")
    hers = traces.keep("hers.csv", WINDOWS, user=ana)
    first = traces.keep("first.csv", REQUESTS, user=otto)
    traces.keep("second.csv", LENGTHS, user=otto)

    with pytest.raises(TooManyError) as caught:
        traces.keep("third.csv", REQUESTS + b"3,1000,100\n", user=otto)

    assert str(caught.value) == (
        "2 traces of yours are kept, and 2 may be: choose one of them, or wait; "
        "those no backtest plays are deleted 30 days after their upload."
    )
    again = [traces.keep("again.csv", csv, user=otto).pk for csv in (REQUESTS, WINDOWS)]
    assert again == [first.pk, hers.pk]
    assert Trace.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_four_uploads_at_once_two_are_kept_where_two_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traces, "MOST_EACH", 2)
    otto = person("otto", "Operator")
    files = [REQUESTS + b"%d,1000,100\n" % (3 + i) for i in range(4)]

    given = at_once(*[partial(traces.keep, "up.csv", csv, user=otto) for csv in files])

    assert sum(isinstance(one, TooManyError) for one in given) == 2
    assert Trace.objects.count() == 2


def test_a_viewer_uploads_nothing() -> None:
    with pytest.raises(ForbiddenError, match="needs the role Operator"):
        traces.keep("up.csv", REQUESTS, user=person("vera", "Viewer"))
    assert not Trace.objects.exists()


def test_a_file_without_rows_is_not_kept() -> None:
    with pytest.raises(TraceError):
        traces.keep("up.csv", b"input_tokens,output_tokens\n", user=person("otto", "Operator"))
    assert not Trace.objects.exists()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"rows": 0}, id="no row"),
        pytest.param({"span_s": 0.0}, id="no time"),
        pytest.param({"span_s": None}, id="requests without a span"),
    ],
)
def test_the_database_keeps_no_empty_trace(changed: dict[str, object]) -> None:
    kept = make_trace()
    with pytest.raises(IntegrityError), transaction.atomic():
        Trace.objects.filter(pk=kept.pk).update(**changed)
