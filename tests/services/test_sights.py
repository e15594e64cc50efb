"""What the watcher notes, and what is read of it."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection

from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.values import PodSeen, PodState, ServiceSeen, WorkloadRef, WorkloadSeen
from controller.core.types import Instances, Role
from controller.models import ClusterSight, ServiceSight
from controller.services import sights
from controller.services.sights import Look, State, note, sights_of, standing_of
from tests.clusters_of_kubernetes import make_kube_service, make_watched

pytestmark = pytest.mark.django_db
TICK_S = 15.0


def seen(decode: int = 4) -> ServiceSeen:
    def part(role: Role, count: int) -> tuple[WorkloadRef, WorkloadSeen, tuple[PodSeen, ...]]:
        about = KINDS[WorkloadKind.DEPLOYMENT]
        name = f"chat-{role.value}"
        ref = WorkloadRef(role, WorkloadKind.DEPLOYMENT, about.api, about.plural, "prod", name)
        pods = tuple(
            PodSeen(f"{name}-{n}", f"{name}{n}", "n1", PodState.READY, 1.0, 0.0)
            for n in range(count)
        )
        return ref, WorkloadSeen(name, "1", count), pods

    return ServiceSeen((part(Role.PREFILL, 2), part(Role.DECODE, decode)))


def back(cluster: object, **fields: float) -> None:
    """Let time pass: what was noted is so much older."""
    row = ClusterSight.objects.get(pk=cluster.pk)  # type: ignore[attr-defined]
    for name, by_s in fields.items():
        setattr(row, name, getattr(row, name) - timedelta(seconds=by_s))
    row.save()


def test_what_is_noted_is_read_again() -> None:
    service = make_kube_service()
    note(
        service.cluster_id,
        Look(State.OK, age_s=1.0, nodes=16, pods=6, skew_s=0.5, changed={"chat": seen()}),
    )
    found = sights_of(["chat"], ["k-1"])
    assert found.services == {"chat": seen()}
    assert found.chosen == {"chat"}
    assert found.last == {"chat": Instances(2, 4)}
    standing = found.clusters["k-1"]
    assert (standing.state, standing.rounds, standing.told) == ("ok", 1, ())
    assert standing.heard_s == pytest.approx(sights.now().timestamp() - 1.0, abs=0.5)


def test_four_queries_however_many_services(django_assert_num_queries: object) -> None:
    for slug in ("chat", "code", "rag"):
        make_kube_service(slug)
    with django_assert_num_queries(4):  # type: ignore[operator]
        sights_of(["chat", "code", "rag"], ["k-1"])


def test_only_what_changed_is_written() -> None:
    service = make_kube_service()
    note(service.cluster_id, Look(State.OK, age_s=0.0, changed={"chat": seen()}))
    first = ServiceSight.objects.get().changed_at
    note(service.cluster_id, Look(State.OK, age_s=0.0))
    assert ServiceSight.objects.get().changed_at == first
    note(service.cluster_id, Look(State.OK, age_s=0.0, changed={"chat": seen(5)}))
    assert sights.seen_of(["chat"]) == {"chat": seen(5)}


def test_services_without_workloads_are_forgotten() -> None:
    service = make_kube_service()
    make_kube_service("other", "k-2")
    note(service.cluster_id, Look(State.OK, changed={"chat": seen(), "strange": seen()}))
    assert ServiceSight.objects.count() == 1
    note(service.cluster_id, Look(State.OK, services=()))
    assert ServiceSight.objects.count() == 0


def test_a_cluster_that_was_removed_is_left() -> None:
    note(uuid.uuid4(), Look(State.OK, age_s=0.0))
    assert not ClusterSight.objects.exists()


def test_a_row_gone_wrong_is_left_out() -> None:
    service = make_kube_service()
    note(service.cluster_id, Look(State.OK, changed={"chat": seen()}))
    ServiceSight.objects.update(body={"workloads": 7})
    assert sights.seen_of(["chat"]) == {}


def rounds() -> int:
    return standing_of(["k-1"])["k-1"].rounds


def test_rounds_count_ticks_in_which_the_cluster_was_known() -> None:
    cluster = make_watched()
    note(cluster.pk, Look(State.OK, anew=True))
    assert rounds() == 0
    note(cluster.pk, Look(State.OK, age_s=0.0))
    note(cluster.pk, Look(State.OK, age_s=0.0))
    assert rounds() == 1
    back(cluster, begun_at=TICK_S, heard_at=TICK_S)
    note(cluster.pk, Look(State.FAILED, age_s=TICK_S))
    assert rounds() == 1  # nothing was heard since
    note(cluster.pk, Look(State.OK, age_s=0.0))
    assert rounds() == 2


def test_another_watcher_begins_to_count_anew() -> None:
    cluster = make_watched()
    note(cluster.pk, Look(State.OK, age_s=0.0))
    back(cluster, begun_at=10 * TICK_S)
    note(cluster.pk, Look(State.OK, age_s=0.0))
    assert rounds() == 11
    note(cluster.pk, Look(State.OK, age_s=0.0, anew=True))
    assert rounds() == 1


def test_after_a_silence_it_is_looked_at_twice_again() -> None:
    cluster = make_watched()
    note(cluster.pk, Look(State.OK, age_s=0.0))
    back(cluster, begun_at=600.0, heard_at=50.0)
    note(cluster.pk, Look(State.OK, age_s=0.0))
    assert rounds() == 1


def test_what_was_heard_is_never_older_than_before() -> None:
    cluster = make_watched()
    note(cluster.pk, Look(State.OK, age_s=0.0))
    first = standing_of(["k-1"])["k-1"].heard_s
    note(cluster.pk, Look(State.FAILED, ("Nobody listens there.",), age_s=30.0))
    found = standing_of(["k-1"])["k-1"]
    assert found.heard_s == first
    assert (found.state, found.told) == ("failed", ("Nobody listens there.",))


def test_since_when_it_is_in_its_state() -> None:
    cluster = make_watched()
    note(cluster.pk, Look(State.OK, age_s=0.0))
    back(cluster, since=100.0)
    before = standing_of(["k-1"])["k-1"].since_s
    note(cluster.pk, Look(State.OK, age_s=0.0))
    assert standing_of(["k-1"])["k-1"].since_s == before
    note(cluster.pk, Look(State.FAILED))
    assert standing_of(["k-1"])["k-1"].since_s > before


def test_one_connection_at_a_time_watches_a_cluster() -> None:
    cluster = make_watched()
    assert sights.hold(cluster.pk)
    assert sights.hold(cluster.pk)
    sights.release(cluster.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        )
        assert cursor.fetchone() == (0,)


def test_what_is_to_be_watched() -> None:
    service = make_kube_service()
    asleep = make_watched("k-2")
    asleep.access.watching = False
    asleep.access.save()
    (about,) = sights.watched().values()
    assert about.cluster == service.cluster
    assert [ref.name for ref in about.refs["chat"]] == ["chat-prefill", "chat-decode"]
    assert {ref.plural for ref in about.refs["chat"]} == {"deployments"}
