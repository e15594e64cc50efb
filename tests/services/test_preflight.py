"""Rights: the manifest gives what the check asks for and what is used, no more and no less."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controller.adapters.kube.api import Api, Credentials, ForbiddenError, KubeError, Res
from controller.core.kube import preflight as found_values
from controller.core.kube import rights
from controller.core.kube.kinds import KINDS, Gate, WorkloadKind
from controller.core.kube.manifest import manifest
from controller.core.kube.preflight import Check, Found
from controller.core.kube.rights import Right, Used
from controller.services import cluster_access, preflight
from controller.services.preflight import Asked, Preflight
from inventory.models import ClusterAccess, Workload
from tests.factories import make_service
from tests.kube import Double, Rule, faults
from tests.services.people import person

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db
ACCOUNT = "system:serviceaccount:heteroscale:heteroscale"
EVERY_KIND = (
    *(
        used
        for kind in WorkloadKind
        if kind is not WorkloadKind.SCALE
        for used in rights.usual([kind], Gate.READINESS)
    ),
    Used(WorkloadKind.SCALE, Res("apps/v1", "replicasets")),
)


def rules_of(text: str) -> Iterator[Rule]:
    """Yield what a manifest allows, as the cluster would."""
    for document in yaml.safe_load_all(text):
        if document["kind"] in {"ClusterRole", "Role"}:
            where = document["metadata"].get("namespace")
            for rule in document["rules"]:
                yield Rule(
                    tuple(rule["verbs"]),
                    tuple(rule["resources"]),
                    tuple(rule["apiGroups"]),
                    (where,) if where else (),
                )


def single(rules: list[Rule]) -> list[Rule]:
    """Return the same as rules of one verb and one resource each."""
    return [
        Rule((verb,), (resource,), rule.groups, rule.namespaces)
        for rule in rules
        for resource in rule.resources
        for verb in rule.verbs
    ]


def server(kube: Double, rules: list[Rule]) -> Api:
    token = kube.account(ACCOUNT, rules)
    return Api(Credentials(kube.address, token=token))


def exercise(api: Api, right: Right, verb: str, namespace: str) -> None:
    """Do what a right is for; what is not there is no refusal."""
    until, name = time.monotonic() + 20, "none"
    where = "" if right.everywhere else namespace
    if verb == "list":
        list(api.pages(right.res, where or None, until=until))
    elif verb == "watch":
        # Of a version that is gone: answered at once, after the rights were looked at.
        next(api.watch(right.res, where or None, version="1", seconds=1), None)
    elif verb == "get":
        api.read(right.res, where or "prod", name, until=until, subresource=right.subresource)
    else:
        api.merge(right.res, where or "prod", name, {}, until=until, subresource=right.subresource)


def soon() -> float:
    return time.monotonic() + 20


def refusals(api: Api, wanted: tuple[Right, ...], namespace: str) -> list[str]:
    found = []
    for right in wanted:
        for verb in right.verbs:
            try:
                exercise(api, right, verb, namespace)
            except ForbiddenError:
                found.append(f"{verb} {right.words}")
            except KubeError:
                pass
    return found


@pytest.mark.parametrize(
    "namespaces", [pytest.param((), id="everywhere"), pytest.param(("prod", "test"), id="in two")]
)
@pytest.mark.parametrize("acts", [True, False])
def test_the_manifest_is_exactly_what_is_asked_for_and_used(
    kube: Double, namespaces: tuple[str, ...], *, acts: bool
) -> None:
    wanted = rights.wanted(EVERY_KIND, acts=acts)
    kube.compact()
    rules = single(list(rules_of(manifest(wanted, namespaces))))
    api = server(kube, rules)

    found = preflight.look(api, Asked(EVERY_KIND, namespaces, acts=acts))

    assert found.lacking == ()
    assert found.account == ACCOUNT
    assert [check.what for check in found.checks if check.found is Found.LOOK and acts] == []
    for namespace in namespaces or ("",):
        assert refusals(api, wanted, namespace) == []


def test_each_right_that_is_left_out_is_named_by_the_check_and_missed_by_what_needs_it(
    kube: Double,
) -> None:
    wanted = rights.wanted(EVERY_KIND)
    rules = single(list(rules_of(manifest(wanted))))
    api = server(kube, rules)
    # Nodes 3, pods 3 + 1 + their status 1, autoscalers 3, seven kinds of 4, a scale 2.
    assert len(rules) == len(set(rules)) == 41
    kube.compact()
    for left_out in rules:
        kube.accounts.limit(ACCOUNT, [rule for rule in rules if rule is not left_out])

        found = preflight.look(api, Asked(EVERY_KIND, acts=True))

        verb, (resource,) = left_out.verbs[0], left_out.resources
        (lacking,) = found.lacking
        assert lacking.what.split()[-1].replace(f".{left_out.groups[0]}", "") == resource
        assert lacking.said.startswith(f"Not granted: {verb}. ")
        assert lacking.where == ("" if resource == "nodes" else "all namespaces")
        near = tuple(right for right in wanted if right.what == resource)
        assert refusals(api, near, "") == [f"{verb} {lacking.what.split()[-1]}"]


def test_watching_needs_no_right_to_change_anything(kube: Double) -> None:
    looking = rights.wanted(rights.usual(), acts=False)
    api = server(kube, list(rules_of(manifest(looking))))

    watched = preflight.look(api, Asked(rights.usual()))
    acted = preflight.look(api, Asked(rights.usual(), acts=True))

    assert watched.lacking == ()
    assert [check.what for check in watched.checks if check.found is Found.LOOK] == [
        "patch deployments.apps",
        "patch statefulsets.apps",
        "patch pods",
    ]
    assert [check.what for check in acted.lacking] == [
        "patch deployments.apps",
        "patch statefulsets.apps",
        "patch pods",
    ]
    assert "Looking on works; no change" in acted.lacking[0].said


def test_a_namespace_that_allows_nothing_is_named(kube: Double) -> None:
    wanted = rights.wanted(rights.usual())
    api = server(kube, list(rules_of(manifest(wanted, ("prod",)))))

    found = preflight.look(api, Asked(rights.usual(), ("prod", "test"), acts=True))

    assert {check.where for check in found.lacking} == {"test"}


def test_an_account_that_may_everything_is_warned_of(kube: Double) -> None:
    found = preflight.look(Api(Credentials(kube.address, token=kube.token)), Asked(()))

    said = [check.said for check in found.checks if check.found is Found.LOOK]
    assert len(said) == len(rights.EXCESSES) == 5
    assert said[0] == ("Whoever gets hold of our token could read secrets: this is never needed.")
    assert found.lacking == ()


@pytest.mark.parametrize(
    ("skew", "said"),
    [
        (timedelta(0), "As here, within seconds."),
        (
            timedelta(minutes=2),
            "Its clock is 120 s ahead of ours: ages of pods",
        ),
        (-timedelta(minutes=2), "Its clock is 120 s behind ours"),
    ],
)
def test_clocks_that_differ_are_told(kube: Double, skew: timedelta, said: str) -> None:
    kube.skew = skew
    api = Api(Credentials(kube.address, token=kube.token))

    found = preflight.look(api, Asked(()))

    told = next(check.said for check in found.checks if check.what == "clock")
    assert told.replace("119", "120").replace("121", "120").startswith(said)


def test_a_token_that_ran_out_is_said_and_nothing_else_asked(kube: Double) -> None:
    token = kube.account(ACCOUNT)
    kube.accounts.expire(token)

    found = preflight.look(Api(Credentials(kube.address, token=token)), Asked(()))

    (lacking,) = found.lacking
    assert "does not know us (401)" in lacking.said


def test_one_that_ends_answering_says_so_at_once(kube: Double) -> None:
    kube.fault(faults.answer(503), path="selfsubjectaccess", times=None)
    api = Api(Credentials(kube.address, token=kube.token))

    found = preflight.look(api, Asked(rights.usual()))

    assert [check.what for check in found.lacking] == ["rights"]
    assert len(kube.asked("POST", "selfsubjectaccess")) == 1


def connected(kube: Double, **more: Any) -> ClusterAccess:
    draft = cluster_access.Draft("token", Credentials(kube.address, token=kube.token), **more)
    ada = person("ada", "Admin")
    cluster = cluster_access.connect("eu", draft, user=ada, reason="")
    found = preflight.check(cluster, api_of(kube), user=ada)
    assert isinstance(found, Preflight)
    return ClusterAccess.objects.get(cluster=cluster)


def api_of(kube: Double) -> Any:
    return lambda _cluster: Api(Credentials(kube.address, token=kube.token))


def test_what_was_found_is_kept_and_read_back(kube: Double) -> None:
    row = connected(kube)

    kept = found_values.checks_of(row.checks)

    assert row.account == "kubernetes-admin"
    assert row.checked_at is not None
    assert row.version == 1
    assert kept[0] == Check("answers", Found.OK, "Kubernetes v1.34.0.")
    assert found_values.checks_of([{"what": "x"}, 5, None]) == ()
    assert found_values.checks_of(None) == ()


def test_it_is_asked_for_the_kinds_that_services_have_there(kube: Double) -> None:
    row = connected(kube, namespaces=["prod"])
    service = make_service("chat", mode="approve")
    service.cluster = row.cluster
    service.save()
    Workload.objects.create(
        service=service,
        role="decode",
        kind="leaderworkerset",
        namespace="prod",
        name="chat",
        gate="readiness",
    )

    asked = preflight.asked_of(row.cluster)

    about = KINDS[WorkloadKind.LEADER_WORKER_SET]
    used = Used(WorkloadKind.LEADER_WORKER_SET, Res(about.api, about.plural), Gate.READINESS)
    assert asked == Asked([used], ["prod"], acts=True)
