"""Samples of a service, read back as a load."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from pytest_django import DjangoAssertNumQueries

from controller.models import Sample
from controller.selectors.recordings import recorded_load
from controller.simulator.recorded import TooLittleRecordedError
from controller.simulator.workload import facts
from inventory.models import Cluster
from tests.factories import NOW, make_samples, make_service

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def test_samples_become_a_load_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    service = make_service()
    make_samples(service, count=240)
    make_samples(make_service("other"), count=240)
    with django_assert_num_queries(1):
        load = recorded_load(service.pk, NOW - HOUR, NOW)
    assert load.name == "chat, 2026-03-01 11:00 to 2026-03-01 12:00 UTC"
    found = load.rates(np.array([0.0]), 3_600.0)
    # 18 requests/s take 20,000 tokens/s in, 15,000 of them computed, and bring about 4,000 out.
    assert found.rps == pytest.approx([18.0])
    assert found.input_tokens == pytest.approx([20_000 / 18])
    assert found.cached_frac == pytest.approx([0.25])
    assert found.output_tokens == pytest.approx([4_000 / 18], rel=0.05)


def test_only_the_time_asked_for_is_read() -> None:
    service = make_service()
    make_samples(service, count=480)
    load = recorded_load(service.pk, NOW - HOUR, NOW - HOUR / 2)
    assert load.about.span_s == 1_800.0


@pytest.mark.parametrize(
    ("changed", "unknown"),
    [
        pytest.param({"request_rps": None}, True, id="NULL is not zero"),
        pytest.param({"decode_reporting": 3}, True, id="three of four instances reported"),
        pytest.param({"prefill_waiting": None}, False, id="a source that counts no queue"),
    ],
)
def test_what_a_row_lacks_is_unknown(changed: dict[str, Any], unknown: bool) -> None:  # noqa: FBT001
    service = make_service()
    make_samples(service, count=240)
    since = NOW - timedelta(minutes=10)
    Sample.objects.filter(service=service, at__gt=since).update(**changed)
    load = recorded_load(service.pk, NOW - HOUR, NOW)
    assert np.isnan(load.rates(np.array([3_300.0]), 60.0).rps[0]) == unknown


@pytest.mark.parametrize(
    ("count", "says"),
    [
        pytest.param(0, "no sample of the service is kept", id="none"),
        pytest.param(20, "known for 5 of 5 min, and 10 min", id="five minutes"),
    ],
)
def test_too_little_is_refused(count: int, says: str) -> None:
    service = make_service()
    make_samples(service, count=count)
    with pytest.raises(TooLittleRecordedError, match=says):
        recorded_load(service.pk, NOW - HOUR, NOW)


def test_a_real_service_is_played_and_what_its_source_did_not_tell_is_unknown() -> None:
    """Of 6 h in a cluster nobody simulates: a look each 10 s, measured each 30 s, two outages."""
    service = make_service()
    service.cluster.kind = Cluster.Kind.RECORD
    service.cluster.save()
    rows = make_samples(service, count=2_160, step_s=10.0)
    for at, row in enumerate(rows):
        load = 1.0 + (at // 3) / len(rows)
        row.request_rps, row.prefill_tps = 18.0 * load, 20_000.0 * load
        row.prefill_tps_uncached, row.decode_tps = 15_000.0 * load, 4_000.0 * load
    mine = Sample.objects.filter(service=service)
    mine.delete()
    Sample.objects.bulk_create(rows)
    silent, away = NOW - 2 * HOUR, NOW - 4 * HOUR
    nothing = dict.fromkeys(("request_rps", "prefill_tps", "prefill_tps_uncached", "decode_tps"))
    mine.filter(at__gt=silent, at__lte=silent + HOUR).update(
        **nothing, prefill_reporting=0, decode_reporting=0
    )
    mine.filter(at__gt=away, at__lte=away + HOUR).delete()
    load = recorded_load(service.pk, NOW - 6 * HOUR, NOW)
    hours = load.rates(np.arange(6) * 3_600.0, 3_600.0)
    assert np.flatnonzero(np.isnan(hours.rps)).tolist() == [2, 4]
    assert np.nanmin(hours.rps) >= 18.0
    assert facts(load)["known_frac"] == pytest.approx(4 / 6, abs=0.01)
