"""What a pasted kubeconfig says of one context; what it leaves in files is refused by name."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from controller.core.kube.access import Credentials, ExecPlugin
from controller.services.errors import InvalidError
from inventory.importers.found import RefusedError
from inventory.importers.plain import Plain, blocks, inside, mapping, read_yaml, sequence

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 500_000
FIELD: Final = "kubeconfig"
INLINE: Final = "kubectl config view --raw --flatten --minify"
"""Prints a kubeconfig of the present context alone, with all files in it."""
VERSIONS: Final = tuple(f"client.authentication.k8s.io/{each}" for each in ("v1", "v1beta1"))
_CLUSTER_FILES: Final = ("certificate-authority",)
_USER_FILES: Final = ("client-certificate", "client-key", "tokenFile")
_CLUSTER_REFUSED: Final = {
    "proxy-url": "A proxy is not gone through: give an address that can be reached directly.",
    "tls-server-name": "Another name than the server's is not checked: give an address that its "
    "certificate names.",
}
_USER_REFUSED: Final = {
    "auth-provider": "Providers are gone from Kubernetes: use a token, a certificate, or an exec "
    "plugin.",
    "username": "A name and a password are gone from Kubernetes: use a token or a certificate.",
    "password": "A name and a password are gone from Kubernetes: use a token or a certificate.",
    **dict.fromkeys(
        ("as", "as-uid", "as-groups", "as-user-extra"),
        "It acts as somebody else: give the account that is meant a token of its own.",
    ),
}


def contexts_of(text: str) -> tuple[tuple[str, ...], str]:
    """Return the contexts of a kubeconfig, and the one it calls current (empty: none of them).

    Raises :class:`InvalidError`.
    """
    document = _document(text)
    names = tuple(_named(document, "contexts"))
    if not names:
        raise InvalidError(FIELD, f"It has no contexts. `{INLINE}` prints a whole one.")
    current = document.get("current-context")
    return names, current if isinstance(current, str) and current in names else ""


def read(text: str, context: str = "") -> Credentials:
    """Return how a context reaches its cluster; without a name the current or only one.

    Raises :class:`InvalidError` naming the entry that can't be used and what to do.
    """
    names, current = contexts_of(text)
    chosen = context or current or (names[0] if len(names) == 1 else "")
    if not chosen:
        raise InvalidError("context", f"Choose one of its contexts: {', '.join(names)}.")
    if chosen not in names:
        raise InvalidError("context", f"It has no context {chosen!r}, but {', '.join(names)}.")
    document = _document(text)
    about = _named(document, "contexts")[chosen]
    cluster = _entry(document, "cluster", inside(about, "cluster"), chosen)
    user = _entry(document, "user", inside(about, "user"), chosen)
    _check(cluster, _CLUSTER_FILES, _CLUSTER_REFUSED)
    _check(user, _USER_FILES, _USER_REFUSED)
    if cluster.get("insecure-skip-tls-verify") not in {None, False}:
        raise InvalidError(
            FIELD,
            "insecure-skip-tls-verify: whoever answers would be given our token. Leave it out and "
            "give certificate-authority-data.",
        )
    return Credentials(
        server=_text(cluster, "server"),
        ca=_decoded(cluster, "certificate-authority-data"),
        token=_text(user, "token"),
        certificate=_decoded(user, "client-certificate-data"),
        key=_decoded(user, "client-key-data"),
        exec_=_plugin(user),
    )


def _document(text: str) -> Mapping[str, Plain]:
    if len(text) > LONGEST:
        said = f"It has {len(text):,} characters; at most {LONGEST:,} fit. `{INLINE}` prints less."
        raise InvalidError(FIELD, said)
    try:
        documents = read_yaml(text)
    except RefusedError as fault:
        where = f"Line {fault.line}: " if fault.line else ""
        raise InvalidError(FIELD, f"{where}{fault.message}.") from None
    found = documents[0] if len(documents) == 1 else None
    if not isinstance(found, dict) or "clusters" not in found:
        raise InvalidError(FIELD, f"This is no kubeconfig. `{INLINE}` prints one.")
    return found


def _named(document: Mapping[str, Plain], kind: str) -> dict[str, Mapping[str, Plain]]:
    """Return the entries of a list by name: what stands below their own word."""
    found = {}
    for _, each in blocks(document.get(kind)):
        name = each.get("name")
        if isinstance(name, str | int) and str(name):
            found[str(name)] = mapping(each.get(kind.removesuffix("s")))
    return found


def _entry(
    document: Mapping[str, Plain], kind: str, name: Plain, context: str
) -> Mapping[str, Plain]:
    found = _named(document, f"{kind}s").get(str(name))
    if found is None:
        said = f"The context {context} names the {kind} {name}, which is not in it."
        raise InvalidError(FIELD, f"{said} `{INLINE}` prints all of one.")
    return found


def _check(entry: Mapping[str, Plain], files: tuple[str, ...], refused: Mapping[str, str]) -> None:
    for name in files:
        # What stands there as data counts before the file, also for kubectl.
        if entry.get(name) and not entry.get(f"{name}-data"):
            said = f"{name} names a file, which is not here. Paste what this prints: `{INLINE}`."
            raise InvalidError(FIELD, said)
    for name, why in refused.items():
        if entry.get(name):
            raise InvalidError(FIELD, f"{name}: {why}")


def _text(entry: Mapping[str, Plain], name: str) -> str:
    found = entry.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise InvalidError(FIELD, f"{name} is no text: put it between quotes.")
    return found.strip()


def _decoded(entry: Mapping[str, Plain], name: str) -> str:
    try:
        return base64.b64decode(_text(entry, name), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidError(FIELD, f"{name} is no PEM text in base64.") from None


def _plugin(user: Mapping[str, Plain]) -> ExecPlugin | None:
    if user.get("exec") is None:
        return None
    entry = mapping(user["exec"])
    api, command = _text(entry, "apiVersion"), _text(entry, "command")
    if api not in VERSIONS:
        said = f"exec.apiVersion is {api or 'empty'}: plugins of {' and '.join(VERSIONS)} are run."
        raise InvalidError(FIELD, said)
    if not command:
        raise InvalidError(FIELD, "exec.command is empty: it names the program to run.")
    if entry.get("interactiveMode") == "Always":
        said = "exec.interactiveMode is Always: nobody is there to answer it. Use a token instead."
        raise InvalidError(FIELD, said)
    return ExecPlugin(
        api,
        command,
        tuple(str(each) for each in sequence(entry.get("args"))),
        {_text(each, "name"): _text(each, "value") for _, each in blocks(entry.get("env"))},
        tells_cluster=entry.get("provideClusterInfo") is True,
    )
