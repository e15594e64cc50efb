"""Who may do what: every address × every role, everywhere and within a scope (product: roles)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest
import time_machine
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, reverse
from django.utils import timezone

from controller import urls
from controller.models import ApprovalRule, AuditEvent, Breaker, Grant, Override, Rearrangement
from controller.models.scopes import keys_of
from controller.services import people
from controller.services.accounts import ROLES, ensure_roles
from inventory.models import Cluster, Node, Region, Service
from tests.factories import (
    make_access,
    make_action,
    make_decision,
    make_hardware,
    make_nodes,
    make_outside,
    make_proposal,
    make_service,
    make_source,
    make_suggestion,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("strip_read_once")]

FOUND: Final = 302
FORBIDDEN: Final = 403
NOT_ALLOWED: Final = 405
SIGN_IN_FIRST: Final = frozenset({FOUND, FORBIDDEN})
WRITES: Final = ("INSERT", "UPDATE", "DELETE", "WITH", "TRUNCATE")
SESSIONS: Final = "controller_session"
SIGN_IN: Final = frozenset({"sign-in", "sign-in-code", "confirm", "sign-out"})


@dataclass(frozen=True)
class Side:
    """A cluster with everything an address may name."""

    cluster: Cluster
    service: Service
    node: Node
    keys: Mapping[str, Any]


Names = Callable[[Side], dict[str, Any]]


@dataclass(frozen=True)
class Door:
    """An address that changes something: what it names, the right it takes, what is sent.

    ``scoped`` doors are of an object; the others of the whole fleet. A ``right`` of ``None`` is
    for everybody about themselves.
    """

    right: str | None
    names: Names = lambda _side: {}
    body: Callable[[Side], dict[str, Any]] = lambda _side: {}
    scoped: bool = True


def _slug(side: Side) -> dict[str, Any]:
    return {"slug": side.service.slug}


def _pk(kind: str) -> Names:
    return lambda side: {"pk": side.keys[kind]}


def _hardware(_side: Side) -> dict[str, Any]:
    return {"slug": "h800"}


def _source(_side: Side) -> dict[str, Any]:
    return {"slug": "eu-1"}


def _connected(_side: Side) -> dict[str, Any]:
    return {"slug": "k8s-1"}


def _node(side: Side) -> dict[str, Any]:
    return {"cluster": side.cluster.slug, "name": side.node.name}


def _answer(**more: Any) -> Callable[[Side], dict[str, Any]]:
    return lambda side: {"version": 1, "fingerprint": side.keys["fingerprint"], **more}


def _fleet_change(side: Side) -> dict[str, Any]:
    node = f"{side.node.pk}:{side.node.version}"
    return {"node": node, "action": "cordon", "reason": "why", "confirm": "1"}


def _longer(_side: Side) -> dict[str, Any]:
    return {"version": 1, "lasts": "120", "reason": "why"}


def _override(side: Side) -> dict[str, Any]:
    scope = f"service:{side.service.slug}"
    return {"step": "set", "kind": "in_only", "scope": scope, "lasts": "30", "reason": "why"}


def _grant(side: Side) -> dict[str, Any]:
    scope = f"cluster:{side.cluster.slug}"
    return {"user": "vera", "role": "Viewer", "scope": scope, "reason": "why"}


def _rule_name(side: Side) -> dict[str, Any]:
    return {"name": f"nights-{side.cluster.slug}"}


def _rule(name: str) -> Callable[[Side], dict[str, Any]]:
    return lambda side: {
        "name": name,
        "scope": f"cluster:{side.cluster.slug}",
        "direction": "out",
        "time_zone": "UTC",
        "opened": 1 if name.startswith("nights") else 0,
        "reason": "why",
    }


DOORS: Final[dict[str, Door]] = {
    "door-lift": Door(people.PEOPLE, lambda _side: {"key": "0" * 64}, scoped=False),
    "person-end-sessions": Door(people.PEOPLE, lambda _side: {"name": "x"}, scoped=False),
    "person-reset-factor": Door(people.PEOPLE, lambda _side: {"name": "x"}, scoped=False),
    "freeze": Door(people.FREEZE, body=_answer(reason="why"), scoped=False),
    "resume": Door(people.RESUME, body=_answer(scope="fleet", reason="why"), scoped=False),
    "breaker-reset": Door(people.RESUME, _pk("breaker"), _answer(reason="why")),
    "freeze-service": Door(people.FREEZE, _slug, _answer(reason="why")),
    "resume-service": Door(people.RESUME, _slug, _answer(reason="why")),
    "approve": Door(people.APPROVE, _pk("proposal"), _answer()),
    "reject": Door(people.APPROVE, _pk("proposal"), _answer(reason="no")),
    "break-glass": Door(people.BREAK_GLASS, _pk("proposal"), _answer(reason="why", typed=18)),
    "withdraw": Door(people.APPROVE, _pk("proposal"), _answer(reason="no")),
    "comment": Door(people.PROPOSE, _pk("proposal"), _answer(text="look")),
    "counter": Door(people.PROPOSE, _pk("proposal"), _answer(prefill=3, decode=5, reason="why")),
    "propose": Door(people.PROPOSE, _slug, _answer(prefill=3, decode=5, reason="why")),
    "outside-change": Door(
        people.OVERRIDE,
        lambda side: {**_slug(side), **_pk("outside")(side)},
        _answer(answer="adopt", reason="why"),
    ),
    "roll-back": Door(people.PROPOSE, _pk("action"), _answer(reason="why")),
    "approval-rules": Door(people.RULE, body=_rule("small-steps")),
    "approval-rule": Door(
        people.RULE, _rule_name, lambda side: _rule(_rule_name(side)["name"])(side)
    ),
    "moves-approve": Door(people.APPROVE, _pk("moves"), _answer()),
    "moves-reject": Door(people.APPROVE, _pk("moves"), _answer(reason="no")),
    "suggestion-adopt": Door(people.EDIT_POLICY, _pk("suggestion"), _answer()),
    "suggestion-dismiss": Door(people.EDIT_POLICY, _pk("suggestion"), _answer(reason="no")),
    "service-policy": Door(people.EDIT_POLICY, _slug),
    "service-placement": Door(people.EDIT_POLICY, _slug),
    "policy-simulate": Door(people.BACKTEST, _slug, scoped=False),
    "policy-curate": Door(people.BACKTEST, _slug, scoped=False),
    "policy-revert": Door(
        people.EDIT_POLICY, lambda side: {**_slug(side), "revision": 1}, _answer(reason="why")
    ),
    "backtest-new": Door(people.BACKTEST, scoped=False),
    "backtest-cancel": Door(people.BACKTEST, _pk("backtest"), scoped=False),
    "fleet-change": Door(people.CORDON, body=_fleet_change),
    "node-release": Door(people.EDIT_FLEET, _node, _answer(field="labels")),
    "node-labels": Door(people.EDIT_FLEET, _node, _answer(labels="a=b", seen="{}")),
    "node-move": Door(people.EDIT_FLEET, _node),
    "rack": Door(people.EDIT_FLEET, _pk("rack"), scoped=False),
    "hardware-edit": Door(people.EDIT_FLEET, _hardware, scoped=False),
    "hardware-alias": Door(people.EDIT_FLEET, _hardware, _answer(text="another"), scoped=False),
    "hardware-merge": Door(
        people.EDIT_FLEET,
        _hardware,
        _answer(into="b200", target_version=1, reason="why", typed=0),
        scoped=False,
    ),
    "hardware-delete": Door(people.EDIT_FLEET, _hardware, _answer(reason="why"), scoped=False),
    "import-new": Door(people.EDIT_FLEET, scoped=False),
    "source-new": Door(people.EDIT_SOURCES, scoped=False),
    "source-test": Door(people.EDIT_SOURCES, _source, scoped=False),
    "service-metrics": Door(people.EDIT_SOURCES, _slug, _answer(reason="why")),
    "metrics-test": Door(people.EDIT_SOURCES, _slug),
    "metric": Door(
        people.EDIT_SOURCES,
        lambda side: {**_slug(side), "name": "decode_tps"},
        _answer(act="back", reason="why"),
    ),
    "source-edit": Door(people.EDIT_SOURCES, _source, scoped=False),
    "source-detect": Door(people.EDIT_SOURCES, _source, scoped=False),
    "source-accept": Door(people.EDIT_SOURCES, _source, scoped=False),
    "source-remove": Door(people.EDIT_SOURCES, _source, _answer(reason="why"), scoped=False),
    "cluster-new": Door(people.CONNECT, scoped=False),
    "cluster-edit": Door(people.CONNECT, _connected, scoped=False),
    "cluster-check": Door(people.CONNECT, _connected, scoped=False),
    "cluster-watch": Door(
        people.CONNECT, _connected, _answer(watching="0", reason="why"), scoped=False
    ),
    "cluster-remove": Door(people.CONNECT, _connected, _answer(reason="why"), scoped=False),
    "cluster-nodes": Door(people.EDIT_FLEET, _connected, scoped=False),
    "setup-match": Door(people.EDIT_SOURCES, scoped=False),
    "cluster-service-new": Door(people.SET_UP, _connected, scoped=False),
    "service-act": Door(
        people.CHANGE_MODE, _slug, _answer(mode="observe", seen="approve", reason="why")
    ),
    "override-new": Door(people.OVERRIDE, body=_override),
    "override-extend": Door(people.OVERRIDE, _pk("override"), _longer),
    "override-end": Door(people.OVERRIDE, _pk("override"), _answer(reason="why")),
    "grants": Door(people.GRANT, body=_grant),
    "grant-end": Door(people.GRANT, _pk("grant"), _answer(reason="why")),
}
OWN: Final = frozenset(
    {"preferences", "fleet-views", "policy-check", "policy-windows", "what-if", "decision-replay"}
    | {"password", "session-end", "sessions-end-others"}
    | {"second-factor", "second-factor-confirm", "second-factor-remove", "recovery-codes"}
)
"""What changes nothing but what is one's own."""

MUST_BE_FRESH: Final = frozenset(
    {people.BREAK_GLASS, people.RESUME, people.GRANT, people.PEOPLE, people.RULE}
    | {people.CHANGE_MODE}
)
"""Rights whose doors ask who is there, when the last proof is old (security checklist, 4)."""

OWN_PROOFS: Final = (
    "second-factor",
    "second-factor-confirm",
    "second-factor-remove",
    "recovery-codes",
)
BY_ROW: Final = frozenset({"approvals-bulk"})
"""What holds each of several things against the right for itself."""

TOLD_BY_STATE: Final = frozenset(
    {"import-apply", "import-replan", "import-cancel", "import-revert"}
)
"""Imports in their states have tests of their own."""


@pytest.fixture
def sides() -> tuple[Side, Side]:
    """Two regions with the same things in each."""
    ensure_roles()
    make_hardware("b200")
    make_source("eu-1")
    make_access("k8s-1")
    return _side("one"), _side("two")


def _side(name: str) -> Side:
    region = Region.objects.create(slug=f"region-{name}", name=name)
    cluster = Cluster.objects.create(slug=name, name=name, region=region, kind="record")
    service = make_service(f"chat-{name}", cluster=cluster, mode="approve")
    node = make_nodes(cluster, make_hardware(), 1)[0]
    decision = make_decision(service)
    now = timezone.now()
    proposal = make_proposal(service, decision=decision, expires_at=now + timedelta(minutes=9))
    ApprovalRule.objects.create(
        name=f"nights-{name}", cluster=cluster, reason="why", by_name="ana", made_at=now
    )
    moves = Rearrangement.objects.create(
        kind="room",
        service=service,
        key=f"key-{name}",
        body={"moves": [], "shrinks": []},
        sentence="Make room.",
        inventory_version=1,
        touched="",
        created_at=now,
        evidence_at=now,
        expires_at=now + timedelta(minutes=9),
    )
    override = Override.objects.create(
        service=service,
        kind="advisory",
        reason="why",
        by_name="ana",
        made_at=now,
        starts_at=now,
        ends_at=now + timedelta(hours=1),
    )
    vera = User.objects.get_or_create(username="vera")[0]
    grant = Grant.objects.create(
        user=vera, role="Operator", cluster=cluster, reason="why", by_name="ana", granted_at=now
    )
    keys = {
        "override": override.pk,
        "grant": grant.pk,
        "proposal": proposal.pk,
        "action": make_action(service, state="ready", applied_at=now).pk,
        "moves": moves.pk,
        "outside": make_outside(service).pk,
        "breaker": Breaker.objects.create(service=service, opened_at=now, cause="why").pk,
        "suggestion": make_suggestion(service).pk,
        "rack": node.rack_id,
        "backtest": uuid.uuid4(),
        "fingerprint": proposal.fingerprint,
    }
    return Side(cluster, service, node, keys)


def _client(role: str, side: Side | None) -> Client:
    """Return somebody with the role everywhere, or in the cluster of a side alone."""
    return _granted(role, None if side is None else side.cluster)


def _granted(role: str, scope: Region | Cluster | Service | None) -> Client:
    user = User.objects.create_user(f"{role}-{uuid.uuid4().hex[:6]}".replace(" ", "-"))
    if scope is None:
        user.groups.add(Group.objects.get(name=role))
    else:
        given = {"user": user, "role": role, "reason": "on call", "by_name": "admin"}
        now = timezone.now()
        Grant.objects.create(**given, **keys_of(scope), granted_at=now)
    client = Client()
    client.force_login(user)
    return client


def _status(client: Client, name: str, side: Side) -> int:
    door = DOORS[name]
    with transaction.atomic():
        found = client.post(reverse(name, kwargs=door.names(side)), door.body(side))
        transaction.set_rollback(True)
    return found.status_code


@pytest.mark.parametrize("name", sorted(DOORS))
def test_only_who_has_the_right_gets_through_the_door(name: str, sides: tuple[Side, Side]) -> None:
    own, foreign = sides
    door, wrong = DOORS[name], []
    for role, rights in ROLES.items():
        may = door.right in rights
        for scope, side, expected in (
            (None, own, may),
            (own, own, may and door.scoped),
            (own, foreign, False),
        ):
            status = _status(_client(role, scope), name, side)
            if (status != FORBIDDEN) != expected:
                where = "everywhere" if scope is None else "in the other cluster"
                where = "in its cluster" if scope is side else where
                wrong.append(f"{role} {where}: {status}, may: {expected}")
    assert wrong == []


CLUSTERS: Final = frozenset(
    {"approval-rules", "approval-rule", "grants", "grant-end"}
    | {"fleet-change", "node-release", "node-labels", "node-move"}
)
"""Scoped doors of a cluster here, which a role within one of its services does not open."""


def test_a_role_within_a_region_or_a_service_opens_no_door_outside_it(
    sides: tuple[Side, Side],
) -> None:
    own, foreign = sides
    scoped, wrong = {name for name, door in DOORS.items() if door.scoped}, []
    for scope, opened in (
        (own.cluster.region, scoped | {"rack"}),  # a rack stands in a region, in no cluster
        (own.service, scoped - CLUSTERS),
    ):
        admin = _granted("Admin", scope)
        for name in DOORS:
            for side, may in ((own, name in opened), (foreign, False)):
                status = _status(admin, name, side)
                if (status != FORBIDDEN) != may:
                    wrong.append(f"{scope}, {name} of {side.cluster}: {status}, may: {may}")
    assert wrong == []


def test_what_matters_most_takes_a_fresh_proof_and_changes_nothing_without_one(
    sides: tuple[Side, Side], settings: LazySettings
) -> None:
    own = sides[0]
    root = User.objects.create_superuser("root", password="correct horse battery")
    Override.objects.filter(service=own.service).update(kind="freeze")
    asks = {
        reverse(name, kwargs=door.names(own)): door.body(own)
        for name, door in DOORS.items()
        if door.right in MUST_BE_FRESH
    }
    asks[reverse("override-end", args=[own.keys["override"]])] = {"version": 1, "reason": "why"}
    asks |= {reverse(name): {"code": "123456"} for name in OWN_PROOFS}
    asks |= {reverse("admin:auth_user_add"): {}, reverse("admin:auth_group_add"): {}}
    asks |= {reverse("admin:auth_user_change", args=[root.pk]): {"is_superuser": "on"}}
    client = Client()
    client.force_login(root)
    known = AuditEvent.objects.count()
    with time_machine.travel(timezone.now().timestamp() + settings.FRESH_S + 1, tick=False):
        answers = {path: client.post(path, body) for path, body in asks.items()}
    done = [
        path
        for path, answer in answers.items()
        if answer.status_code != FORBIDDEN or "Confirm it is you" not in answer.text
    ]
    assert done == []
    assert AuditEvent.objects.count() == known


def test_a_stranger_gets_through_no_door(sides: tuple[Side, Side]) -> None:
    # Sent to the sign-in page, or shown it with what the form held.
    found = {name: _status(Client(), name, sides[0]) for name in DOORS}
    assert {name: status for name, status in found.items() if status not in SIGN_IN_FIRST} == {}


NOTHING_TO_CHANGE: Final = frozenset({"node-release", "metric", "cluster-check"})
"""What has nothing to do here: a node that no source keeps has no field to release, a figure that
is read as the presets say has no query to put back, and asking what we may changes nothing."""


def _written(client: Client, name: str, side: Side) -> tuple[int, list[tuple[str, str, str, str]]]:
    """Return the answer of a door and what it wrote: actor, verb, reason, request."""
    door, before = DOORS[name], AuditEvent.objects.count()
    with transaction.atomic():
        status = client.post(reverse(name, kwargs=door.names(side)), door.body(side)).status_code
        rows = AuditEvent.objects.order_by("pk")[before:]
        found = list(rows.values_list("actor", "verb", "reason", "request_id"))
        transaction.set_rollback(True)
    return status, found


def test_who_did_what_why_and_in_which_request_is_written_down(sides: tuple[Side, Side]) -> None:
    # Product, acceptance check 17: each change with its actor, reason and request.
    own, wrong, changed = sides[0], [], 0
    client = _client("Admin", None)
    admin = User.objects.get(groups__name="Admin").username
    for name in DOORS.keys() - NOTHING_TO_CHANGE:
        status, events = _written(client, name, own)
        changed += status == FOUND
        reason = DOORS[name].body(own).get("reason")
        told = [
            actor == admin and request != "" and reason in {None, why}
            for actor, _, why, request in events
        ]
        if (status == FOUND) != bool(told) or not all(told):
            wrong.append(f"{name}: {status} {events}")
    assert wrong == []
    assert changed >= 20


def test_what_was_refused_is_written_down_too(sides: tuple[Side, Side]) -> None:
    own, wrong = sides[0], []
    client = _client("Viewer", None)
    for name in DOORS:
        status, events = _written(client, name, own)
        verbs = [verb for _, verb, why, request in events if why and request]
        if status != FORBIDDEN or not [verb for verb in verbs if verb.startswith("was refused ")]:
            wrong.append(f"{name}: {status} {events}")
    assert wrong == []


def test_every_address_that_takes_a_change_is_known(sides: tuple[Side, Side]) -> None:
    known = DOORS.keys() | OWN | BY_ROW | TOLD_BY_STATE | SIGN_IN
    unknown = [name for name in _changing(sides[0]) if name not in known]
    assert unknown == []


def test_looking_at_an_address_writes_nothing(sides: tuple[Side, Side]) -> None:
    own, wrote = sides[0], []
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    for name, converters in _addresses():
        known = DOORS[name].names(own) if name in DOORS else {}
        kwargs = {key: known.get(key, _some(kind, own)) for key, kind in converters.items()}
        with CaptureQueriesContext(connection) as asked:
            client.get(reverse(name, kwargs=kwargs))
        said = [query["sql"].split(" SET ")[0][:80] for query in asked.captured_queries]
        wrote += [(name, sql) for sql in said if sql.startswith(WRITES) and SESSIONS not in sql]
    assert wrote == []


def _addresses() -> list[tuple[str, dict[str, Any]]]:
    """Return the name of every address of ours, and what it names."""
    return [
        (one.name, one.pattern.converters)
        for one in urls.urlpatterns
        if isinstance(one, URLPattern) and one.name is not None
    ]


def _changing(side: Side) -> list[str]:
    """Return the names of the addresses that answer a POST with something else than 405."""
    admin = User.objects.create_superuser("root")
    client = Client(raise_request_exception=False)
    client.force_login(admin)
    found = []
    for name, converters in _addresses():
        if name.startswith("api-"):
            continue
        kwargs = {key: _some(kind, side) for key, kind in converters.items()}
        with transaction.atomic():
            status = client.post(reverse(name, kwargs=kwargs)).status_code
            transaction.set_rollback(True)
        if status != NOT_ALLOWED:
            found.append(name)
    return found


def _some(converter: object, side: Side) -> object:
    kind = type(converter).__name__
    if kind == "IntConverter":
        return 1
    return uuid.uuid4() if kind == "UUIDConverter" else side.service.slug
