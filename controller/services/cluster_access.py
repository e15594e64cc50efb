"""How clusters are reached, as people set it: checked, encrypted, recorded, never shown again."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.kube.access import CA_FILE, TOKEN_FILE, Credentials, ExecPlugin
from controller.core.reach import AddressError, Reach, check_host, origin
from controller.services import audit, kubeconfig, people
from controller.services.certificates import PemError, read_authorities, read_pair
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.secrecy import UnreadableError, decrypt, encrypt
from inventory.limits import SLUG
from inventory.models import Cluster, ClusterAccess, Region, Service
from inventory.models.control import NAMESPACE
from inventory.places import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from controller.services.people import Person

PURPOSE: Final = "cluster access"
RESERVED: Final = frozenset({"new"})
"""What stands in addresses where the name of a cluster does."""
MOST_NAMESPACES: Final = 100
LONGEST_SERVER: Final = 500
PLUGINS: Final = "HETEROSCALE_EXEC_PLUGINS"
_WAY: Final = ClusterAccess.Way
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_INSIDE: Final = Reach()
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*", re.IGNORECASE)
_STEERING: Final = re.compile(
    r"(LD_|DYLD_|PYTHON|PERL|RUBY|NODE_|JAVA_|BASH|GIT_|SSH_|KUBERNETES_EXEC_INFO\Z)"
    r"|(PATH|HOME|IFS|ENV|SHELLOPTS|GCONV_PATH|PS4|PROMPT_COMMAND)\Z",
    re.IGNORECASE,
)
"""Variables that make a program run something else than what it is."""


class UnusableError(Exception):
    """The access to a cluster can't be used as it is kept; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Draft:
    """How a cluster is to be reached; without credentials those that are kept stay."""

    way: str
    credentials: Credentials | None = None
    namespaces: Sequence[str] = ()
    watching: bool = True


def connect(  # noqa: PLR0913 - what a person says of one cluster
    slug: str,
    draft: Draft,
    *,
    user: Person,
    reason: str,
    region: str = "",
    is_new: bool = False,
) -> Cluster:
    """Write how a cluster is reached, making the cluster if there is none of that name.

    With ``is_new`` what is kept of a cluster that is connected already is not overwritten. Raises
    :class:`ForbiddenError`, :class:`InvalidError` naming the field and how to mend it, and
    :class:`ConflictError` for a simulated cluster, or one that should be new and is not.
    """
    people.require(user, people.CONNECT)
    reason = people.reason_text(reason, needed=False)
    with transaction.atomic():
        cluster = _cluster(_slug(slug), region.strip())
        row = ClusterAccess.objects.select_for_update().filter(cluster=cluster).first()
        if is_new and row is not None:
            said = f"{cluster.slug} is connected already: edit it there, or choose another name."
            raise ConflictError(said)
        values = _ready(draft, row)
        _only_once(cluster, values.get("server", ""))
        before = _told(row) if row else {}
        if row is None:
            row = ClusterAccess.objects.create(cluster=cluster, **values)
        else:
            ClusterAccess.objects.filter(pk=row.pk).update(
                **values, checks=[], checked_at=None, version=F("version") + 1, updated=Now()
            )
            row.refresh_from_db()
        after = _told(row)
        if before and draft.credentials:
            before["secret"], after["secret"] = "another", "replaced"
        verb = "changed the access to a cluster" if before else "connected a cluster"
        _record(user, verb, row, (before, after), reason)
    return cluster


def _only_once(cluster: Cluster, server: str) -> None:
    """Refuse one API server under two names: services of both would change the same objects."""
    others = ClusterAccess.objects.filter(server=server).exclude(cluster=cluster)
    twin = others.select_related("cluster").first() if server else None
    if twin is not None:
        said = f"{server} is connected already, as {twin.cluster.slug}: edit it there."
        raise InvalidError("slug", said)


def watch(slug: str, *, watching: bool, user: Person, reason: str) -> bool:
    """Say whether a cluster is looked at; returns False where nothing differs.

    Raises :class:`ForbiddenError`, :class:`MissingError`, and :class:`InvalidError` for a lacking
    reason.
    """
    people.require(user, people.CONNECT)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        row = _locked(slug)
        if row.watching == watching:
            return False
        ClusterAccess.objects.filter(pk=row.pk).update(
            watching=watching, version=F("version") + 1, updated=Now()
        )
        change = {"watching": row.watching}, {"watching": watching}
        _record(user, "changed the access to a cluster", row, change, reason)
    return True


def remove(slug: str, *, user: Person, reason: str) -> None:
    """Forget how a cluster is reached; its nodes and services stay, and nothing is known of them.

    Raises :class:`ForbiddenError`, :class:`MissingError`, :class:`InvalidError` for a lacking
    reason, and :class:`ConflictError` naming services that are acted on there.
    """
    people.require(user, people.CONNECT)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        row = _locked(slug)
        acting = row.cluster.services.exclude(mode=Service.Mode.OBSERVE).order_by("slug")
        if names := list(acting.values_list("slug", flat=True)):
            said = f"{phrases.listed(names)} can be changed there: put them into observe first."
            raise ConflictError(said)
        _record(user, "disconnected a cluster", row, (_told(row), {}), reason)
        row.delete()
        Cluster.objects.filter(pk=row.cluster_id).update(
            kind=Cluster.Kind.RECORD, version=F("version") + 1, updated=Now()
        )


def credentials_of(row: ClusterAccess) -> Credentials:
    """Return how a cluster is reached, with secrets. Raises :class:`UnusableError`."""
    try:
        if row.way == _WAY.IN_CLUSTER:
            return in_cluster()
        kept = json.loads(decrypt(row.secret, purpose=PURPOSE))
        plugin = _plugin_of(kept.get("exec"))
        if plugin:
            _check_plugin(plugin)
    except UnreadableError as fault:
        raise UnusableError(f"{fault}. Connect {row.cluster.slug} anew.") from None
    except InvalidError as fault:
        raise UnusableError(str(fault)) from None
    return Credentials(
        row.server, row.ca, kept["token"], kept["certificate"], kept["key"], exec_=plugin
    )


def in_cluster() -> Credentials:
    """Return the account of the pod this runs in. Raises :class:`InvalidError`."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{end}", "") for end in ("HOST", "PORT"))
    try:
        ca = Path(CA_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        ca = ""
    if not host or not ca or not Path(TOKEN_FILE).exists():
        said = "This runs in no pod with an account: use a kubeconfig, or an address and a token."
        raise InvalidError("way", said)
    at = f"[{host}]" if ":" in host else host
    return Credentials(f"https://{at}:{port or '443'}", ca, token_file=TOKEN_FILE)


def read_namespaces(text: str) -> list[str]:
    """Return the namespaces that a text names, each once. Raises :class:`InvalidError`."""
    names = list(dict.fromkeys(text.replace(",", " ").split()))
    if len(names) > MOST_NAMESPACES:
        said = f"{len(names)} namespaces; at most {MOST_NAMESPACES} are looked at one by one. "
        raise InvalidError("namespaces", f"{said}Leave it empty for all of them.")
    for name in names:
        try:
            NAMESPACE(name)
        except ValidationError as fault:
            raise InvalidError("namespaces", f"{name[:70]}: {fault.messages[0]}") from None
    return names


def _slug(raw: str) -> str:
    slug = raw.strip()
    try:
        validate_slug(slug)
    except ValidationError:
        slug = ""
    if not slug or len(slug) > SLUG:
        said = f"Name the cluster with at most {SLUG} letters, digits, '-' and '_'."
        raise InvalidError("slug", said)
    if slug in RESERVED:
        raise InvalidError("slug", f"{slug} is an address of its own: choose another.")
    return slug


def _cluster(slug: str, region: str) -> Cluster:
    """Return the cluster of that name as one of Kubernetes; its region counts when it is made."""
    row = Cluster.objects.select_for_update().filter(slug__iexact=slug).first()
    if row is None:
        place = Region.objects.filter(slug=region or DEFAULT_REGION).first()
        if place is None:
            place = Region.objects.create(
                slug=_slug(region or DEFAULT_REGION), name=region or DEFAULT_REGION
            )
        kind = Cluster.Kind.KUBERNETES
        return Cluster.objects.create(slug=slug, name=slug, region=place, kind=kind)
    if row.is_simulated:
        raise ConflictError(f"{row.slug} is simulated: choose another name.")
    if row.kind != Cluster.Kind.KUBERNETES:
        row.kind = Cluster.Kind.KUBERNETES
        Cluster.objects.filter(pk=row.pk).update(
            kind=row.kind, version=F("version") + 1, updated=Now()
        )
    return row


def _locked(slug: str) -> ClusterAccess:
    rows = ClusterAccess.objects.select_related("cluster")
    row = rows.select_for_update(of=("self",)).filter(cluster__slug=slug).first()
    if row is None:
        raise MissingError(f"No cluster {slug} is connected.")
    return row


def _ready(draft: Draft, row: ClusterAccess | None) -> dict[str, Any]:
    """Return the columns of what is wanted, checked."""
    common = {
        "way": draft.way,
        "namespaces": read_namespaces(" ".join(draft.namespaces)),
        "watching": draft.watching,
    }
    if draft.way == _WAY.IN_CLUSTER:
        return common | {"server": in_cluster().server, "ca": "", "secret": ""}
    given = draft.credentials
    if given is None:
        if row is None or row.way != draft.way:
            raise InvalidError("kubeconfig", "Say how it is reached.")
        return common
    server = _server(given.server)
    if given.exec_:
        _check_plugin(given.exec_)
    secret = {
        "token": _token(given),
        "certificate": given.certificate.strip(),
        "key": given.key.strip(),
        "exec": _plugin_plain(given.exec_),
    }
    _check_pem(given)
    kept = encrypt(json.dumps(secret), purpose=PURPOSE)
    return common | {"server": server, "ca": given.ca.strip(), "secret": kept}


def _server(url: str) -> str:
    server = url.strip().rstrip("/")
    if not server:
        raise InvalidError("server", "Give the address of the API server: https://10.0.0.1:6443.")
    try:
        scheme, host, _ = origin(server)
        check_host(host, _INSIDE)
    except AddressError as fault:
        raise InvalidError("server", str(fault)) from None
    if not server.isascii() or not server.isprintable() or set(" ?#") & set(server):
        raise InvalidError("server", "An address has no spaces, and here no ? and no #.")
    if scheme != "https" and host not in _LOOPBACK:
        said = "Our token would go over the wire as it is: give an address with https://."
        raise InvalidError("server", said)
    if len(server) > LONGEST_SERVER:
        raise InvalidError("server", "The address is too long.")
    return server


def _token(given: Credentials) -> str:
    token = given.token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidError("token", "A token has no spaces and no line breaks: paste it alone.")
    if not (token or given.certificate or given.exec_):
        said = "There is nothing that says who we are: give a token, or a certificate and its key."
        raise InvalidError("token", said)
    return token


def _check_pem(given: Credentials) -> None:
    try:
        if given.ca.strip():
            read_authorities(given.ca)
        if given.certificate.strip() or given.key.strip():
            read_pair(given.certificate.strip(), given.key.strip())
    except PemError as fault:
        raise InvalidError(fault.field, str(fault)) from None


def _check_plugin(plugin: ExecPlugin) -> None:
    """Refuse a program that nobody allowed: else whoever connects a cluster runs what they like.

    A name with a slash must be on the list as it is, so that no other file bears the same name.
    """
    if plugin.command not in settings.EXEC_PLUGINS:
        said = (
            f"It runs {plugin.command[:200]!r} to fetch credentials, which {PLUGINS} does not "
            "list. Let an administrator of this host list it, or use a token."
        )
        raise InvalidError(kubeconfig.FIELD, said)
    for name in plugin.variables:
        if not _VARIABLE.fullmatch(name) or _STEERING.match(name):
            said = f"exec.env sets {name[:60]!r}, which could make it run something else."
            raise InvalidError(kubeconfig.FIELD, said)


def _plugin_plain(plugin: ExecPlugin | None) -> dict[str, Any] | None:
    if plugin is None:
        return None
    return {
        "api": plugin.api,
        "command": plugin.command,
        "arguments": list(plugin.arguments),
        "variables": dict(plugin.variables),
        "tells_cluster": plugin.tells_cluster,
    }


def _plugin_of(plain: Mapping[str, Any] | None) -> ExecPlugin | None:
    if plain is None:
        return None
    return ExecPlugin(**{**plain, "arguments": tuple(plain["arguments"])})


def _told(row: ClusterAccess) -> dict[str, Any]:
    """Return what the audit keeps of an access: nothing that is secret, and no long text."""
    return {
        "cluster": row.cluster.slug,
        "way": row.way,
        "server": row.server,
        "ca": f"sha256 {sha256(row.ca.encode()).hexdigest()[:16]}" if row.ca else "",
        "secret": "kept" if row.secret else "",
        "namespaces": list(row.namespaces),
        "watching": row.watching,
    }


def _record(
    user: Person,
    verb: str,
    row: ClusterAccess,
    change: tuple[Mapping[str, Any], Mapping[str, Any]],
    reason: str,
) -> None:
    before, after = change
    differ = _differing(before, after)
    audit.record(
        actor=user.get_username(),
        verb=verb,
        obj=row.cluster,
        before={name: before[name] for name in differ if name in before},
        after={name: after[name] for name in differ if name in after},
        reason=reason,
    )


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    if not before or not after:
        return before or after
    return [name for name in after if before.get(name) != after[name]]
