"""The simulated fleet between looks: kept in a row, paused while the product is off."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from controller import history
from controller.core.ports import ConflictError, RefusedError, ScaleOrder
from controller.core.types import Instances
from controller.models import (
    Action,
    AuditEvent,
    Decision,
    PoolSample,
    Proposal,
    Sample,
    ServiceStatus,
    SimulatedFleet,
    SimulatedService,
    Tick,
)
from controller.models.clock import database_now
from controller.services import demo, demo_fleet, retention, simulated
from controller.simulator.demo import DEMO_NODES
from controller.simulator.ports import SimulatedCluster
from inventory.models import (
    Cluster,
    HardwareType,
    InventoryVersion,
    Link,
    LocalityDomain,
    Node,
    Policy,
    PolicyRevision,
    Service,
    Switch,
)
from inventory.plan import plan_against
from inventory.stored import read_for
from tests.factories import (
    make_cluster,
    make_decision,
    make_hardware,
    make_nodes,
    make_samples,
    make_service,
)

HOUR = timedelta(hours=1)


def quiet(_done: float) -> None:
    """Ignore progress."""


@pytest.fixture
def fleet(db: None) -> SimulatedFleet:  # noqa: ARG001
    demo.create(speed=1.0, trace=None)
    return SimulatedFleet.objects.get()


def test_the_first_fleet_is_what_it_says(fleet: SimulatedFleet) -> None:
    assert fleet.history == "wanted"
    assert Cluster.objects.filter(kind="simulated").count() == 2
    assert HardwareType.objects.count() == 3
    assert 90 <= Node.objects.count() <= 110
    assert 6 <= Service.objects.count() <= 8
    assert Service.objects.filter(simulated__isnull=True).count() == 0
    assert set(Service.objects.values_list("mode", flat=True)) == {
        "automatic", "approve", "observe",
    }  # fmt: skip
    assert not Node.objects.filter(s1_domain=None).exists()
    assert not LocalityDomain.objects.filter(level="S1", parent=None).exists()
    assert PolicyRevision.objects.count() == Service.objects.count()


@pytest.mark.usefixtures("fleet")
def test_its_domains_follow_from_its_cables() -> None:
    rows = Node.objects.values_list("name", "s1_domain__name", "s2_domain__name")
    assert {name: (s1, s2) for name, s1, s2 in rows} == {
        node.name: (node.s1, node.s2) for node in DEMO_NODES
    }
    cables = Link.objects.filter(node__isnull=False).values_list("speed_gbps", "count")
    assert set(cables) == {(400, 8)}
    assert set(Switch.objects.values_list("tier", flat=True)) == {0, 1}
    assert Node.objects.exclude(reserved_for="").count() == 3
    assert InventoryVersion.objects.count() == 1
    again = plan_against(read_for(demo_fleet.found()), demo_fleet.found())
    assert again.changes == ()


def test_engines_are_kept_between_two_looks(fleet: SimulatedFleet) -> None:
    begin_s = database_now().timestamp()
    with simulated.lend(begin_s) as engines:
        engines.world.scale("chat", Instances(9, 12))
    with simulated.lend(begin_s + 90) as engines:
        assert engines.world.desired("chat")[0] == Instances(9, 12)
        state = engines.world.state("chat")
        assert engines.world.now_s == pytest.approx(begin_s + 90, abs=1.0)
    assert state.decode.desired == 12
    fleet.refresh_from_db()
    assert fleet.at is not None


def test_an_error_while_lent_keeps_nothing(fleet: SimulatedFleet) -> None:  # noqa: ARG001
    begin_s = database_now().timestamp()
    with simulated.lend(begin_s) as engines:
        before = engines.world.desired("chat")

    def break_off() -> None:
        with simulated.lend(begin_s + 15) as engines:
            engines.world.scale("chat", Instances(9, 12))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    with simulated.lend(begin_s + 30) as engines:
        assert engines.world.desired("chat") == before


def test_engines_rest_while_the_product_is_off(fleet: SimulatedFleet) -> None:  # noqa: ARG001
    begin_s = database_now().timestamp()
    with simulated.lend(begin_s) as engines:
        engines.world.scale("chat", Instances(12, 16))
        starting = engines.world.state("chat").decode.starting
    assert starting > 0
    with simulated.lend(begin_s + 86_400) as engines:
        assert engines.world.now_s == pytest.approx(begin_s + 86_400, abs=1.0)
        assert engines.world.state("chat").decode.starting == starting, "a day off starts nothing"


def test_the_cluster_takes_an_order_once_and_refuses_the_old_s12_s13(
    fleet: SimulatedFleet,  # noqa: ARG001
) -> None:
    now_s = database_now().timestamp()
    cluster = SimulatedCluster(simulated.lend)
    version = cluster.read("chat", now_s=now_s).resource_version
    order = ScaleOrder("a-1", "chat", 7, Instances(9, 12), version)
    cluster.apply(order, now_s=now_s)
    cluster.apply(order, now_s=now_s + 1)
    seen = cluster.read("chat", now_s=now_s + 1)
    assert (seen.desired, seen.last_action, seen.last_epoch) == (Instances(9, 12), "a-1", 7)
    with pytest.raises(ConflictError):
        cluster.apply(ScaleOrder("a-2", "chat", 8, Instances(1, 1), version), now_s=now_s + 1)
    with pytest.raises(RefusedError, match="epoch 6"):
        cluster.apply(
            ScaleOrder("a-3", "chat", 6, Instances(1, 1), seen.resource_version), now_s=now_s + 1
        )
    with pytest.raises(RefusedError, match="not a simulated"):
        cluster.apply(ScaleOrder("a-4", "nobody", 9, Instances(1, 1), "1"), now_s=now_s + 1)


def test_the_history_is_gapless_and_adds_up(fleet: SimulatedFleet) -> None:
    told: list[float] = []
    ticks = history.produce(told.append, length=HOUR)
    assert ticks >= 240
    assert told == sorted(told)
    assert told[-1] == 1.0
    fleet.refresh_from_db()
    assert (fleet.history, fleet.history_frac) == ("done", 1.0)
    for service in Service.objects.all():
        decisions = list(Decision.objects.filter(service=service).order_by("seq"))
        assert [d.seq for d in decisions] == list(range(1, len(decisions) + 1))
        assert sum(d.count for d in decisions) == ticks
        assert Sample.objects.filter(service=service).count() == ticks
        status = ServiceStatus.objects.get(service=service)
        assert (status.decision, status.decision_seq) == (decisions[-1], len(decisions))
    assert Action.objects.filter(state="ready").exists()
    assert not Action.objects.filter(decision=None).exists()
    assert PoolSample.objects.count() == 6 * ticks
    # What waits at the end is left to a person, and nothing was approved ahead of one.
    waiting = Proposal.objects.filter(state__in=("pending", "approved", "applying"))
    proposing = ServiceStatus.objects.filter(decision__gate="propose").values_list("service")
    assert sorted(row.service_id for row in waiting) == sorted(key for (key,) in proposing)
    assert {row.state for row in waiting} <= {"pending"}
    proposed = list(Decision.objects.filter(gate="propose"))
    assert proposed
    for row in proposed:
        assert Proposal.objects.filter(
            service=row.service_id, created_at__lte=row.last_at, evidence_at__gte=row.first_at
        ).exists()
    with simulated.lend(database_now().timestamp()) as engines:
        for status in ServiceStatus.objects.select_related("service"):
            assert engines.world.desired(status.service.slug)[0].decode >= 1


def test_an_interrupted_history_is_begun_anew(fleet: SimulatedFleet) -> None:
    class StoppedError(Exception):
        pass

    def stop(_done: float) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        history.produce(stop, length=2 * HOUR)
    assert Sample.objects.exists()
    assert history.is_wanted()
    ticks = history.produce(quiet, length=HOUR)
    assert Sample.objects.filter(service__slug="chat").count() == ticks
    fleet.refresh_from_db()
    assert not history.is_wanted()


@pytest.mark.django_db
def test_the_demo_is_made_once_and_stays_removed(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("demo", "ensure")
    history.produce(quiet, length=HOUR / 4)
    call_command("demo", "ensure")
    assert SimulatedFleet.objects.count() == 1
    call_command("demo", "remove")
    assert "7 services" in capsys.readouterr().out
    for model in (
        Service,
        Node,
        LocalityDomain,
        Cluster,
        HardwareType,
        Sample,
        Decision,
        PoolSample,
    ):
        assert not model.objects.exists(), model
    assert not SimulatedService.objects.exists()
    call_command("demo", "ensure")
    assert not Service.objects.exists(), "what was removed does not come back by itself"
    assert AuditEvent.objects.filter(verb=demo.REMOVED).exists()
    call_command("demo", "remove")
    assert "no simulated fleet" in capsys.readouterr().out


@pytest.mark.django_db
def test_removing_the_demo_leaves_what_is_real() -> None:
    demo.create(speed=1.0, trace=None)
    real = make_cluster("eu-9", kind="record")
    make_nodes(real, make_hardware("h800"), 2)
    service = make_service("mine", cluster=real)
    demo.remove()
    assert list(Service.objects.all()) == [service]
    assert list(HardwareType.objects.values_list("slug", flat=True)) == ["h800"]
    assert Node.objects.count() == 2


@pytest.mark.django_db
def test_an_empty_installation_with_services_gets_no_demo() -> None:
    make_service("mine")
    call_command("demo", "ensure")
    assert not SimulatedFleet.objects.exists()


@pytest.mark.django_db
def test_a_trace_drives_the_traced_service_and_its_policy_follows(shared: Path) -> None:
    demo.create(speed=1.0, trace=None)
    Policy.objects.filter(service__slug="chat").update(target=1.0)
    call_command(
        "demo", "ensure", trace=str(shared / "data/traces/azure_llm_2023_conv.csv.gz"), speed=10
    )
    fleet = SimulatedFleet.objects.get()
    assert (fleet.trace_name, fleet.speed) == ("azure_llm_2023_conv.csv.gz", 10.0)
    policy = Service.objects.get(slug="chat").policy
    assert policy.revision == 2
    assert policy.target > 100
    history.produce(quiet, length=HOUR)
    rates = Sample.objects.filter(service__slug="chat").values_list("request_rps", flat=True)
    known = [rate for rate in rates if rate is not None]
    assert 4.5 < sum(known) / len(known) < 6.5, "the trace's own 5.53 req/s at any speed"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "empty", id="empty file"),
        pytest.param("a,b\n1,2\n", "column", id="columns of no known layout"),
        pytest.param(
            "t_s,input_tokens,output_tokens\n0,5,5\n1,x,5\n", "line 3, column input_tokens",
            id="not a number",
        ),
    ],
)  # fmt: skip
def test_a_bad_trace_names_line_and_column(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(CommandError, match=r"bad\.csv") as caught:
        call_command("demo", "ensure", trace=str(path))
    assert words in str(caught.value)
    assert not Service.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("speed", [0.0, -1.0, 1001.0, float("nan")])
def test_a_speed_that_makes_no_sense_is_refused(speed: float) -> None:
    with pytest.raises(CommandError, match="--speed"):
        call_command("demo", "ensure", speed=speed)


@pytest.mark.django_db
def test_old_samples_go_a_stretch_at_a_time_and_decisions_stay() -> None:
    service, now = make_service(), database_now()
    make_samples(service, until=now - retention.KEEP_SAMPLES - timedelta(days=1), count=8)
    make_samples(service, until=now, count=8)
    make_decision(service)
    Tick.objects.create(slot=1, at=now - timedelta(days=30), epoch=1)
    retention.prune(now)
    assert Sample.objects.count() == 8
    assert Decision.objects.count() == 1
    assert not Tick.objects.exists()
