"""The roles, as groups of permissions."""

from collections.abc import Mapping
from typing import Final

from django.contrib.auth.models import Group, Permission
from django.db import transaction

FLEET: Final = (
    "region",
    "site",
    "cluster",
    "rack",
    "hardwaretype",
    "hardwarealias",
    "fabric",
    "switch",
    "nic",
    "link",
    "nvlinkdomain",
    "node",
    "gpu",
    "healthevent",
    "reservation",
    "reservednode",
)
DERIVED: Final = (
    "localitydomain",
    "inventoryversion",
    "importrun",
    "importfile",
    "importchange",
)
INVENTORY: Final = (
    *FLEET,
    "service",
    "rolespec",
    "slo",
    "policy",
    "clusteraccess",
    "workload",
    "metricsendpoint",
    "servicemetrics",
    "writtenquery",
)
RECORDS: Final = (
    "tick",
    "decision",
    "servicestatus",
    "proposal",
    "policysuggestion",
    "action",
    "freeze",
    "auditevent",
    "trace",
    "backtest",
    "engineprofile",
    "override",
    "breaker",
    "outsidechange",
    "grant",
    "approvalrule",
    "verdict",
    "endpointstatus",
    "proposalcomment",
)
CONFIGURED: Final = ("service", "rolespec", "slo", "policy")


def _rights(app: str, verbs: tuple[str, ...], models: tuple[str, ...]) -> frozenset[str]:
    return frozenset(f"{app}.{verb}_{model}" for verb in verbs for model in models)


VIEW: Final = _rights("inventory", ("view",), (*INVENTORY, *DERIVED)) | _rights(
    "controller", ("view",), RECORDS
)
OPERATE: Final = frozenset(
    {
        "controller.freeze",
        "controller.override",
        "controller.propose_change",
        "controller.run_backtest",
        "inventory.cordon_node",
    }
)
STEER: Final = frozenset(
    {"controller.resume", "controller.approve_proposal", "controller.break_glass"}
)
ROLES: Final[Mapping[str, frozenset[str]]] = {
    "Viewer": VIEW,
    "Operator": VIEW | OPERATE,
    "Approver": VIEW | OPERATE | STEER,
    "Inventory editor": VIEW
    | _rights("inventory", ("add", "change"), FLEET)
    | {"inventory.cordon_node"},
    "Policy editor": VIEW
    | _rights("inventory", ("change",), CONFIGURED)
    | {"controller.run_backtest"},
    "Admin": VIEW
    | _rights("inventory", ("add", "change", "delete"), INVENTORY)
    | _rights("controller", ("add", "delete"), ("engineprofile",))
    | _rights("controller", ("add", "change"), ("grant", "approvalrule"))
    | _rights("auth", ("add", "change", "delete", "view"), ("user", "group"))
    | OPERATE
    | STEER,
}


@transaction.atomic
def ensure_roles() -> None:
    """Create the role groups and give each exactly its permissions; run it after migrate.

    Raises :class:`LookupError` naming permissions that do not exist.
    """
    known = {
        f"{app}.{codename}": pk
        for app, codename, pk in Permission.objects.filter(
            content_type__app_label__in=("inventory", "controller", "auth")
        ).values_list("content_type__app_label", "codename", "pk")
    }
    for name, rights in ROLES.items():
        if missing := sorted(rights - known.keys()):
            raise LookupError(f"{name}: no such permission: {', '.join(missing)}")
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set(known[right] for right in sorted(rights))
