"""A saved policy is a new revision that stays readable."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from controller.core.types import Adapt, Instances, Period, PeriodKind, PolicyConfig
from controller.models import AuditEvent
from controller.services.policies import save_policy
from inventory.models import Policy, PolicyRevision
from inventory.services.policies import KEPT, body_of, values_of
from inventory.snapshot import config_of, policy_config
from tests import factories
from tests.services.people import at_once, person


@pytest.mark.django_db
def test_a_change_is_the_next_revision_and_keeps_the_one_before() -> None:
    policy = factories.make_service("chat").policy
    policy.target = 1200.0

    assert save_policy(policy, user=person("ana"))

    assert list(
        PolicyRevision.objects.values_list("revision", "body__target", "by__username")
    ) == [
        (2, 1200.0, "ana"),
        (1, 1000.0, None),
    ]
    event = AuditEvent.objects.get()
    assert (event.before["target"], event.after["target"]) == (1000.0, 1200.0)
    assert event.service == "chat"


@pytest.mark.django_db
def test_an_equal_body_changes_nothing() -> None:
    policy = factories.make_service("chat").policy

    assert not save_policy(policy, user=person("ana"))

    assert Policy.objects.get().revision == 1
    assert not PolicyRevision.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_editors_at_once_make_two_revisions() -> None:
    pk = factories.make_service("chat").policy.pk
    ana, ben = person("ana"), person("ben")

    def save(target: float, user: object) -> bool:
        policy = Policy.objects.get(pk=pk)
        policy.target = target
        return save_policy(policy, user=user)  # type: ignore[arg-type]

    given = at_once(lambda: save(1100.0, ana), lambda: save(1200.0, ben))

    assert given == [True, True]
    assert Policy.objects.get().revision == 3
    assert PolicyRevision.objects.count() == 3


WHOLE = PolicyConfig(
    "proportional+periodic",
    "decode_tps",
    target=1000.0,
    pd_ratio=0.5,
    step_out_frac=0.5,
    damp_frac=0.8,
    force_driver=True,
    latency_severe=2.0,
    latency_moderate=1.2,
    latency_idle=0.4,
    schedule=(
        Period("day", "08:00", "20:00", Instances(4, 8), PeriodKind.TARGET, days=(0, 1, 2, 3, 4)),
        Period("sale", "00:00", "00:00", Instances(9, 9), dates=("2026-11-27",)),
    ),
    time_zone="Europe/Berlin",
    adapt=Adapt.PROPOSE,
    ratio_band=4.0,
    hold_s=600.0,
    lead_s=90.0,
    margin_frac=0.2,
    drain_s=60.0,
    slo_margin_frac=0.2,
)


def test_a_revision_keeps_every_field_of_a_policy() -> None:
    assert {*KEPT, "version"} == {field.name for field in fields(PolicyConfig)}


def test_the_columns_have_the_defaults_of_the_core() -> None:
    """A new policy follows the mix, as the one that is proposed for known engines does."""
    fresh = Policy(target=1000.0, pd_ratio=0.5)

    assert policy_config(fresh) == PolicyConfig(
        "proportional", "decode_tps", target=1000.0, pd_ratio=0.5, adapt=Adapt.AUTOMATIC
    )


@pytest.mark.django_db
def test_a_policy_is_the_same_after_it_was_a_row_and_a_revision() -> None:
    row = factories.make_service("chat").policy
    for name, value in values_of(WHOLE).items():
        setattr(row, name, value)

    save_policy(row, user=person("ana"))

    row.refresh_from_db()
    assert policy_config(row) == replace(WHOLE, version=2)
    assert body_of(row) == values_of(WHOLE)
    kept = PolicyRevision.objects.get(revision=2).body
    assert config_of(kept, revision=2) == replace(WHOLE, version=2)


def test_a_revision_older_than_a_field_has_its_default() -> None:
    older = {"name": "proportional", "driver": "decode_tps", "target": 900.0, "pd_ratio": 0.5}

    assert config_of(older, revision=7) == PolicyConfig(
        "proportional", "decode_tps", 900.0, 0.5, version=7
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param({"schedule": None}, "schedule is empty; give a list", id="null"),
        pytest.param(
            {"schedule": [{"name": "x"}]}, r"schedule\[0\].begin is empty", id="no times"
        ),
        pytest.param({"adapt": "perhaps"}, "'perhaps' is not a valid Adapt", id="adapt"),
    ],
)
def test_what_cannot_be_read_is_named(body: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config_of(values_of(WHOLE) | body, revision=1)
