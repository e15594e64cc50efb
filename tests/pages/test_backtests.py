"""Backtests as the operator reads them: the list, the form, and one from queue to answer."""

from __future__ import annotations

import gzip
import shlex
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from controller.management.loads import workload_of
from controller.models import AuditEvent, Backtest, Trace
from controller.models.clock import database_now
from controller.selectors.backtests import PAGE
from controller.selectors.recordings import recorded_load
from controller.services import backtest_load, traces
from tests import factories
from tests.backtests import CSV, answer, make_backtest, make_trace, run, score
from tests.pages.reading import reading, words
from tests.services.people import person

FORM: dict[str, Any] = {
    "source": "generated",
    "low_rps": "2",
    "peak_rps": "8",
    "input_tokens": "1000",
    "output_tokens": "200",
    "day_hours": "2",
    "rate_scale": "1",
    "profile": "qwen3-32b-fp8/h100-tp2",
    "ttft_slo_s": "1",
    "tbt_slo_s": "0.05",
    "policies": ["default", "hpa-util"],
    "hours": "0.5",
    "start_up_s": "60",
    "seed": "0",
    "fidelity": "auto",
}


@pytest.fixture
def otto(client: Client) -> User:
    """An operator who is signed in."""
    user = person("otto", "Operator")
    client.force_login(user)
    return user


@pytest.fixture
def vera(client: Client) -> User:
    """A viewer who is signed in."""
    user = person("vera", "Viewer")
    client.force_login(user)
    return user


def sent(client: Client, **fields: Any) -> Any:
    """Send the form with other values; without a key it gets a new one."""
    return client.post("/backtests/new/", {"key": str(uuid.uuid4()), **FORM, **fields})


# The list.


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
def test_without_any_the_list_invites(client: Client) -> None:
    page = reading(client, "/backtests/")

    assert "No backtests yet" in page
    assert 'href="/backtests/new/"' in client.get("/backtests/").content.decode()


@pytest.mark.django_db
def test_a_line_tells_who_asked_what_and_what_came_out(client: Client, otto: User) -> None:
    make_backtest(otto, "done")
    make_backtest(None, "failed", error="900 h asked, at most 168")

    page = reading(client, "/backtests/")

    assert "otto done generated 2–8 requests/s default; hpa-util" in page
    assert "default 414 1.38 × bound 99.2 % 4 min" in page
    assert "failed generated 2–8 requests/s default; hpa-util 900 h asked, at most 168" in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "shown"),
    [
        pytest.param("", 3, id="all"),
        pytest.param("?state=queued", 2, id="by state"),
        pytest.param("?mine=1", 2, id="mine"),
        pytest.param("?state=queued&mine=1", 1, id="both"),
        pytest.param("?state=nonsense&page=x", 3, id="what it does not know is no filter"),
    ],
)
def test_the_list_is_narrowed_by_its_address(
    client: Client, otto: User, query: str, shown: int
) -> None:
    make_backtest(otto)
    make_backtest(otto, "cancelled")
    make_backtest(None)

    page = client.get(f"/backtests/{query}").content.decode()

    assert page.count("data-row") == shown


@pytest.mark.django_db
def test_a_filter_that_matches_nothing_says_which(client: Client, otto: User) -> None:
    make_backtest(otto)

    assert "No backtest matches: failed, mine." in reading(
        client, "/backtests/?state=failed&mine=1"
    )
    assert "There is nothing older." in reading(client, "/backtests/?page=7")


@pytest.mark.django_db
def test_the_list_has_pages(client: Client, otto: User) -> None:
    Backtest.objects.bulk_create(
        Backtest(
            id=uuid.uuid4(),
            created_at=database_now(),
            created_by=otto,
            asked={"policies": ["default"]},
            source="generated",
            load_name=f"load {i}",
            generator={},
        )
        for i in range(PAGE + 1)
    )

    first = client.get("/backtests/?mine=1").content.decode()
    second = client.get("/backtests/?mine=1&page=2").content.decode()

    assert (first.count("data-row"), second.count("data-row")) == (PAGE, 1)
    assert 'href="?mine=1&amp;page=2"' in first
    assert "the oldest" in second


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["queued", "running", "done"])
@pytest.mark.parametrize("path", ["/backtests/", "/backtests/{pk}/"])
def test_more_rows_need_no_more_queries(client: Client, otto: User, state: str, path: str) -> None:
    asked = path.format(pk=make_backtest(otto, state).pk)
    client.get(asked)
    with CaptureQueriesContext(
        connection,
    ) as one:
        client.get(asked)
    for _ in range(2):
        make_backtest(
            None,
            "done",
            found=answer(*[run(f"hpa-util:target={i}", score(400, 0.9)) for i in range(9)]),
        )
    with CaptureQueriesContext(connection) as three:
        client.get(asked)

    assert len(one) == len(three)


# The form.


@pytest.mark.django_db
def test_a_sent_form_queues_a_backtest_and_goes_to_its_page(client: Client, otto: User) -> None:
    page = client.get("/backtests/new/").content.decode()
    key = page.split('name="key" value="')[1][:36]

    response = client.post(
        "/backtests/new/", {"key": key, **FORM, "more": "hpa-util:target=0.6\n"}
    )
    again = client.post("/backtests/new/", {"key": key, **FORM, "more": "hpa-util:target=0.6"})

    made = Backtest.objects.get()
    assert response.headers["Location"] == again.headers["Location"] == f"/backtests/{made.pk}/"
    assert (str(made.pk), made.state, made.created_by) == (key, "queued", otto)
    assert made.asked["policies"] == ["default", "hpa-util", "hpa-util:target=0.6"]
    assert made.generator["peak_rps"] == 8.0
    assert made.load_name == "generated 2–8 requests/s, 1000/200 tokens"
    assert list(AuditEvent.objects.values_list("actor", "verb")) == [
        ("otto", "started a backtest")
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        pytest.param({"source": "x"}, "source", "Select a valid choice", id="no such load"),
        pytest.param(
            {"source": "trace"}, "trace", "Choose a trace, or upload one.", id="no trace"
        ),
        pytest.param(
            {"source": "trace", "trace": "99"}, "trace", "Select a valid choice", id="a trace gone"
        ),
        pytest.param({"source": "recorded"}, "service", "This load needs it.", id="no service"),
        pytest.param({"peak_rps": ""}, "peak_rps", "This load needs it.", id="no rate"),
        pytest.param(
            {"peak_rps": "1"}, "peak_rps", "below the lowest, 2.", id="rates the wrong way round"
        ),
        pytest.param({"day_hours": "0"}, "day_hours", "greater than or equal to 0.1", id="no day"),
        pytest.param({"rate_scale": "nan"}, "rate_scale", "Enter a number.", id="not a number"),
        pytest.param({"profile": "abacus"}, "profile", "Select a valid choice", id="no engines"),
        pytest.param({"ttft_slo_s": "-1"}, "ttft_slo_s", "greater than", id="a goal in the past"),
        pytest.param({"policies": []}, "policies", "Choose at least one policy.", id="no policy"),
        pytest.param(
            {"more": "\n".join(f"default:a={i}" for i in range(11))},
            "policies",
            "13 policies chosen; at most 12 compare.",
            id="2 ticked and 11 written: 12 + 1 policies",
        ),
        pytest.param(
            {"more": "hpa util"}, "more", "is no policy: write NAME", id="not written so"
        ),
        pytest.param({"more": "default"}, "more", "is there twice.", id="twice"),
        pytest.param({"hours": "900"}, "hours", "less than or equal to 168", id="too long"),
        pytest.param({"max_gpus": "0"}, "max_gpus", "greater than or equal to 1", id="no GPU"),
        pytest.param({"seed": ""}, "seed", "This field is required.", id="no seed"),
        pytest.param({"fidelity": "best"}, "fidelity", "Select a valid choice", id="no fidelity"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_the_rest_is_kept(
    client: Client, fields: dict[str, Any], field: str, sentence: str
) -> None:
    response = sent(client, **{"output_tokens": "217", **fields})

    assert response.status_code == 400
    assert sentence in " ".join(response.context["form"].errors[field])
    page = response.content.decode()
    assert sentence in words(page)
    assert 'value="217"' in page
    assert not Backtest.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
def test_what_the_engine_refuses_stands_beside_its_field(client: Client) -> None:
    response = sent(client, more="no-such-policy")

    assert response.status_code == 400
    assert "no-such-policy" in " ".join(response.context["form"].errors["policies"])


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize("packed", [False, True])
def test_an_uploaded_trace_is_kept_once_and_played(client: Client, packed: bool) -> None:  # noqa: FBT001
    body = gzip.compress(CSV) if packed else CSV
    name = "short.csv.gz" if packed else "short.csv"
    for _ in range(2):
        sent(client, source="trace", upload=SimpleUploadedFile(name, body))

    trace = Trace.objects.get()
    assert (trace.name, trace.kind, trace.rows) == ("short.csv", "requests", 3)
    assert trace.span_s == pytest.approx(3.75)
    assert gzip.decompress(bytes(trace.content)) == CSV
    assert (
        list(Backtest.objects.values_list("trace", "load_name")) == [(trace.pk, "short.csv")] * 2
    )
    got = client.get(f"/backtests/traces/{trace.pk}/")
    assert gzip.decompress(got.content) == CSV
    assert got.headers["Content-Disposition"] == 'attachment; filename="short.csv.gz"'


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(
            b"t_s,input_tokens,output_tokens\n0,1,1\n1,ten,1\n",
            "bad.csv, line 3, column input_tokens: 'ten' is not a number",
            id="a word for a number",
        ),
        pytest.param(b"\x1f\x8bjunk", "the gzip data is damaged", id="damaged"),
        pytest.param(b"a,b\n1,2\n", "a trace of requests needs it", id="other columns"),
    ],
)
def test_a_trace_that_cannot_be_read_says_where(
    client: Client, body: bytes, sentence: str
) -> None:
    response = sent(client, source="trace", upload=SimpleUploadedFile("bad.csv", body))

    assert response.status_code == 400
    assert sentence in " ".join(response.context["form"].errors["upload"])
    assert not Trace.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
def test_a_huge_upload_is_dropped_and_said_so(client: Client) -> None:
    huge = SimpleUploadedFile("huge.csv", bytes(16 * 2**20 + 1))

    response = sent(client, source="trace", upload=huge)

    assert response.status_code == 400
    assert "larger than 16 MiB" in " ".join(response.context["form"].errors["upload"])
    assert not Trace.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
def test_an_upload_stays_chosen_when_something_else_is_wrong(client: Client) -> None:
    response = sent(client, source="trace", seed="", upload=SimpleUploadedFile("short.csv", CSV))

    trace = Trace.objects.get()
    assert response.status_code == 400
    assert f'<option value="{trace.pk}" selected>' in response.content.decode()


@pytest.mark.django_db
def test_run_again_brings_everything_that_was_asked(client: Client, otto: User) -> None:
    row = make_backtest(otto, "done")
    row.asked |= {"seed": 41, "policies": ["hpa-util", "hpa-util:target=0.6"], "max_gpus": 64}
    row.save()

    page = client.get(f"/backtests/new/?copy={row.pk}").content.decode()

    for part in ('value="41"', 'value="64"', "hpa-util:target=0.6</textarea>"):
        assert part in page
    assert f'value="{row.pk}"' not in page


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
def test_a_service_brings_its_recording_goals_and_engines(client: Client) -> None:
    factories.make_service("chat")

    page = client.get("/backtests/new/?service=chat").content.decode()

    for part in (
        'name="source" value="recorded" id="id_source_1" required checked',
        '<option value="chat" selected>',
        '<option value="qwen3-32b-fp8/h800-tp2" selected>',
        'name="max_gpus" value="400"',
    ):
        assert part in page
    assert "/backtests/new/?service=chat" in client.get("/services/chat/").content.decode()


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize("query", ["?copy=x", f"?copy={uuid.UUID(int=7)}", "?service=nobody"])
def test_what_it_should_begin_with_is_gone_and_it_begins_as_usual(
    client: Client, query: str
) -> None:
    assert 'value="generated"' in client.get(f"/backtests/new/{query}").content.decode()


@pytest.mark.django_db
def test_too_many_waiting_are_refused_in_words(client: Client, otto: User) -> None:
    for _ in range(5):
        make_backtest(otto)

    response = sent(client)

    assert response.status_code == 429
    assert "5 of your backtests wait already, and 5 may" in words(response.content.decode())


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
def test_one_trace_too_many_is_refused_beside_the_file(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MOST_EACH", 0)

    response = sent(client, source="trace", upload=SimpleUploadedFile("short.csv", CSV))

    assert response.status_code == 429
    assert "0 traces of yours are kept, and 0 may be" in " ".join(
        response.context["form"].errors["upload"]
    )
    assert not Trace.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("vera")
def test_a_viewer_reads_why_and_is_refused(client: Client) -> None:
    row = make_backtest(None)

    for path in ("/backtests/", "/backtests/new/", f"/backtests/{row.pk}/"):
        assert "needs Operator" in reading(client, path)
    assert sent(client).status_code == 403
    upload = SimpleUploadedFile("short.csv", CSV)
    assert sent(client, source="trace", upload=upload).status_code == 403
    assert client.post(f"/backtests/{row.pk}/cancel/").status_code == 403
    assert list(Backtest.objects.values_list("state", flat=True)) == ["queued"]
    assert not Trace.objects.exists()


# One backtest.


@pytest.mark.django_db
def test_a_queued_one_tells_how_many_come_first(client: Client, otto: User) -> None:
    early = database_now() - timedelta(hours=1)
    make_backtest(None, "running", created_at=early)
    make_backtest(None, created_at=early)
    row = make_backtest(otto)

    page = reading(client, f"/backtests/{row.pk}/")

    assert "queued" in page
    assert "2 before this one." in page


@pytest.mark.django_db
def test_a_running_one_tells_how_far_it_is(client: Client, otto: User) -> None:
    row = make_backtest(otto, "running", progress_frac=0.256, attempts=2)

    page = reading(client, f"/backtests/{row.pk}/")

    assert "25 % 25 % for 5 min , about 14 min left" in page
    client.post(f"/backtests/{row.pk}/cancel/")
    assert "cancelling: it stops at its next step" in reading(client, f"/backtests/{row.pk}/")


@pytest.mark.django_db
def test_a_failed_one_tells_the_sentence_and_the_field(client: Client, otto: User) -> None:
    row = make_backtest(otto, "failed", error="900 h asked, at most 168", error_field="hours")

    page = reading(client, f"/backtests/{row.pk}/")

    assert "Length [h] : 900 h asked, at most 168" in page
    assert "Run again with changes…" in page


@pytest.mark.django_db
def test_cancelling_says_what_came_of_it(client: Client, otto: User) -> None:
    queued, done = make_backtest(otto), make_backtest(otto, "done")

    first = client.post(f"/backtests/{queued.pk}/cancel/", follow=True).content.decode()
    second = client.post(f"/backtests/{done.pk}/cancel/", follow=True).content.decode()

    assert "Cancelled by otto" in words(first)
    assert "It was done before it could be cancelled." in words(second)


@pytest.mark.django_db
def test_an_answer_is_a_sentence_a_table_and_figures(client: Client, otto: User) -> None:
    row = make_backtest(otto, "done")

    page = reading(client, f"/backtests/{row.pk}/")

    assert (
        "default kept 99.2 % of requests within both goals with 414 GPU-hours, 1.38 × the bound;"
        " hpa-util needed 510 (1.70 ×) and kept 97.0 %." in page
    )
    assert "default cheapest that keeps 99 % 414 1.38 × 99.2 % best" in page
    assert "clairvoyant bound 300 1.00 × — — —" in page
    body = client.get(f"/backtests/{row.pk}/").content.decode()
    assert f"/api/v1/figures/backtest?backtest={row.pk}" in body
    assert f"/api/v1/figures/backtest-frontier?backtest={row.pk}" in body
    assert f'href="/backtests/{row.pk}/series.csv"' in body


@pytest.mark.django_db
def test_a_heading_sorts_and_the_address_keeps_the_policies(client: Client, otto: User) -> None:
    row = make_backtest(otto, "done")
    path = f"/backtests/{row.pk}/?policy=hpa-util&sort="

    dearest = client.get(f"{path}-gpu_hours").content.decode()
    cheapest = client.get(f"{path}gpu_hours").content.decode()
    kept = client.get(f"{path}-slo_attainment").content.decode()

    orders = [
        [row.label for row in client.get(f"{path}{sort}").context["rows"]]
        for sort in ("-gpu_hours", "gpu_hours", "-slo_attainment", "nonsense")
    ]
    assert orders == [
        ["hpa-util", "default", "clairvoyant bound"],
        ["clairvoyant bound", "default", "hpa-util"],
        ["default", "hpa-util", "clairvoyant bound"],
        ["default", "hpa-util", "clairvoyant bound"],
    ]
    assert 'aria-sort="descending"' in dearest
    assert 'href="?sort=-gpu_hours&amp;policy=hpa-util"' in cheapest
    assert "runs=1" in kept


@pytest.mark.django_db
def test_unknown_figures_are_dashes(client: Client, otto: User) -> None:
    quiet = score(12.0, None, gpu_hours_over_clairvoyant=None)
    row = make_backtest(otto, "done", found=answer(run("default", quiet)))

    page = reading(client, f"/backtests/{row.pk}/")

    assert (
        "default held 12.0 GPU-hours; no request arrived, so nothing is known of the goals."
        in page
    )
    assert "12.0 — — — —" in page
    assert "None" not in page


@pytest.mark.django_db
def test_what_was_asked_is_there_with_the_command_that_asks_it_again(
    client: Client, otto: User
) -> None:
    trace = make_trace("my trace.csv")
    row = make_backtest(otto, "done", source="trace", trace=trace, load_name="my trace.csv")

    page = reading(client, f"/backtests/{row.pk}/")

    assert trace.sha256 in page
    assert (
        "./heteroscale backtest --workload my-trace.csv.gz --profile qwen3-32b-fp8/h100-tp2"
        " --hours 0.5 --start-up-s 60 --ttft-slo-s 1 --tbt-slo-s 0.05 --seed 0 --fidelity auto"
        " --policy default --policy hpa-util --json" in page
    )
    assert (
        "simulated as fluid that is a fluid in 1 s bins load generated time played 1 h"
        " mean rate 4.70 requests/s engines of prefill qwen3-32b-fp8/h100-tp2"
        " balanced prefill per decode 0.50 " in page
    )


@pytest.mark.django_db
def test_the_command_of_a_generated_load_makes_the_same_load(client: Client, otto: User) -> None:
    row = make_backtest(otto, "done")
    row.asked |= {"rate_scale": 1.5}
    row.save()
    page = reading(client, f"/backtests/{row.pk}/")
    words = shlex.split(page.split("./heteroscale backtest ")[1].split(" --json")[0])

    load = backtest_load.workload_of(backtest_load.load_of_row(row), 1.5, recorded_load)
    typed = {"workload": words[1], "scale": float(words[words.index("--scale") + 1])}

    assert replace(workload_of(typed), name=load.name) == load


@pytest.mark.django_db
def test_the_page_asks_again_until_it_has_ended(client: Client, otto: User) -> None:
    row = make_backtest(otto, "running")
    path = f"/backtests/{row.pk}/"
    first = client.get(path, headers={"HX-Request": "true"})
    same = client.get(path, headers={"HX-Request": "true", "If-None-Match": first.headers["ETag"]})
    Backtest.objects.filter(pk=row.pk).update(progress_frac=0.5)
    moved = client.get(
        path, headers={"HX-Request": "true", "If-None-Match": first.headers["ETag"]}
    )
    Backtest.objects.filter(pk=row.pk).update(state="failed", finished_at=database_now())
    ended = client.get(path, headers={"HX-Request": "true"}).content.decode()

    assert (first.status_code, same.status_code, moved.status_code) == (200, 304, 200)
    assert "data-live" in moved.content.decode()
    assert "data-live" not in ended


@pytest.mark.django_db
@pytest.mark.usefixtures("otto")
def test_no_such_backtest_is_not_found(client: Client) -> None:
    nobody = uuid.UUID(int=7)
    for path in (f"/backtests/{nobody}/", "/backtests/7/", "/backtests/traces/7/"):
        assert client.get(path).status_code == 404
    assert client.post(f"/backtests/{nobody}/cancel/").status_code == 404


@pytest.mark.django_db
def test_looking_changes_nothing_and_the_token_is_needed() -> None:
    row = make_backtest(None)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("otto", "Operator"))

    for path in ("/backtests/new/", f"/backtests/{row.pk}/cancel/"):
        assert strict.post(path, FORM).status_code == 403
        assert Client().post(path, FORM).status_code == 403
    assert strict.get(f"/backtests/{row.pk}/cancel/").status_code == 405
    assert list(Backtest.objects.values_list("state", flat=True)) == ["queued"]


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["trace", "backtest"])
def test_the_administration_shows_rows_without_their_contents_and_edits_none(
    client: Client, model: str
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    trace = make_trace()
    row = make_backtest(None, "done", source="trace", trace=trace)
    place = f"/admin/controller/{model}/"
    pk = trace.pk if model == "trace" else row.pk

    with CaptureQueriesContext(connection) as queries:
        listed = client.get(place)
        shown = client.get(f"{place}{pk}/change/")

    assert (listed.status_code, shown.status_code) == (200, 200)
    assert "_save" not in shown.content.decode()
    assert client.get(f"{place}add/").status_code == 403
    read = " ".join(query["sql"] for query in queries if model in query["sql"])
    assert '"content"' not in read
    assert '"series"' not in read
