"""How an API server is reached, as whom, and how its resources are called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
CA_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"


class Res(NamedTuple):
    """A kind of objects as the API calls it: ``("apps/v1", "deployments")``."""

    api: str
    plural: str

    @property
    def group(self) -> str:
        """The API group; empty for the oldest kinds."""
        return self.api.rpartition("/")[0]

    @property
    def words(self) -> str:
        """As ``kubectl`` calls it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, all parts of one version; what is no object is an empty one here."""

    items: list[dict[str, Any]]
    resource_version: str


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints credentials, as a kubeconfig names it."""

    api: str
    command: str
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    tells_cluster: bool = False
    """Whether it wants to be told which cluster it is for."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that is needed to ask an API server; certificates and the key are PEM texts.

    Without ``ca`` the authorities that this machine trusts are trusted. A ``token_file`` is read
    anew for each call, since whoever wrote it rotates it.
    """

    server: str
    ca: str = ""
    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    exec_: ExecPlugin | None = None
    token_file: str = ""
