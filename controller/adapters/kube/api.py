"""Calls to one API server: read, list, watch, patch and what we may, each within its deadline.

Objects are plain dicts, so that one that is odd spoils itself only.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx2
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import Cluster, Context, User
from lightkube.core.generic_client import GenericSyncClient
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource

from controller.adapters.kube.answers import Call, date_of, error_of, object_of
from controller.adapters.kube.plugin import Plugin, Shown
from controller.adapters.kube.wire import CONNECT_S, Wire, body_of, deadline, named, trust
from controller.core import reach
from controller.core.kube.access import Credentials, ExecPlugin, Page, Res
from controller.core.kube.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubeError,
    MissingError,
    ServerError,
    ThrottledError,
    UnauthorisedError,
    UnreachableError,
)
from controller.core.kube.values import MANAGER
from controller.core.reach import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Api",
    "ConflictError",
    "Credentials",
    "ExecPlugin",
    "ForbiddenError",
    "GoneError",
    "InvalidError",
    "KubeError",
    "MissingError",
    "Page",
    "Pause",
    "Res",
    "ServerError",
    "ThrottledError",
    "UnauthorisedError",
    "UnreachableError",
]

MERGE: Final = "application/merge-patch+json"
ASK_S: Final = 10.0
"""For one question about ourselves."""
GRACE_S: Final = 10.0
"""How much longer than asked for a watch may last before its line counts as dead."""
MOST_EVENT: Final = 8 * 2**20
"""Etcd holds no object larger than 1.5 MiB."""
_MOST_REFUSAL: Final = 2**20
_METHODS: Final = {"create": "post", "watch": "list"}
_VERBS: Final = ["get", "list", "watch", "patch", "post"]
_SEGMENT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?")
_REVIEWS: Final = Res("authorization.k8s.io/v1", "selfsubjectaccessreviews")
_SELF: Final = Res("authentication.k8s.io/v1", "selfsubjectreviews")


class Pause(Protocol):
    """How long a server asked all of us to wait; kept where every process sees it."""

    def left_s(self) -> float:
        """Return how much is left [s]; 0 if nothing."""

    def told(self, wait_s: float) -> None:
        """Remember that it asked to wait."""


class Api:
    """One API server, asked as one account. Safe to share between threads."""

    def __init__(
        self, credentials: Credentials, *, agent: str = "heteroscale", pause: Pause | None = None
    ) -> None:
        self._credentials = credentials
        self._agent = agent
        self._pause = pause
        self._date: tuple[float, float] | None = None
        self._plugin = Plugin(credentials.exec_, credentials) if credentials.exec_ else None
        self._shown = Shown(certificate=credentials.certificate, key=credentials.key)
        self._client = _client(credentials, self._shown)

    def read(
        self, res: Res, namespace: str, name: str, *, until: float, subresource: str = ""
    ) -> dict[str, Any]:
        """Return an object, or one of its subresources, before ``until`` (monotonic s)."""
        call = Call("get", res, namespace, name, subresource)
        return self._asked(call, until)

    def merge(  # noqa: PLR0913 - what is changed, where, to what, until when
        self,
        res: Res,
        namespace: str,
        name: str,
        body: dict[str, Any],
        *,
        until: float,
        subresource: str = "",
    ) -> dict[str, Any]:
        """Change an object by a merge patch and return it as it is then.

        With a ``resourceVersion`` in the body's metadata it is changed only if it is still that
        version. :class:`UnreachableError` that is ``sent`` and :class:`ServerError` leave unknown
        whether it was changed; any other error means it was not.
        """
        call = Call("patch", res, namespace, name, subresource)
        return self._asked(call, until, body=body, params={"fieldManager": MANAGER})

    def pages(
        self,
        res: Res,
        namespace: str | None,
        *,
        selector: str = "",
        until: float,
        size: int = 500,
    ) -> Iterator[Page]:
        """Yield all objects in parts of ``size``; ``None`` is all namespaces.

        Raises :class:`GoneError` if the list got too old in between: a part of a list is no list.
        """
        call = Call("list", res, namespace or "")
        params: dict[str, str | None] = {
            "limit": str(size),
            "labelSelector": selector or None,
        }
        while True:
            found = self._asked(call, until, params=params)
            page, more = _page(found)
            yield page
            if not more:
                return
            params = {**params, "continue": more}

    def watch(
        self,
        res: Res,
        namespace: str | None,
        *,
        selector: str = "",
        version: str,
        seconds: float,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what happens after ``version``: ADDED, MODIFIED, DELETED or BOOKMARK, and of what.

        It ends when the server closes it, after about ``seconds``. Raises :class:`GoneError` if
        that version is too old, :class:`UnreachableError` if the line broke.
        """
        call = Call("watch", res, namespace or "")
        params: dict[str, str | None] = {
            "labelSelector": selector or None,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        until = time.monotonic() + seconds + GRACE_S
        answer = self._opened(call, self._request(call, params=params), until)
        try:
            lines = _lines(answer)
            while True:
                with named(), deadline(until):
                    line = next(lines, None)
                if line is None:
                    return
                yield _event(call, line)
        finally:
            answer.close()

    def may(
        self, verb: str, res: Res, namespace: str = "", *, subresource: str = "", name: str = ""
    ) -> bool:
        """Return whether we may; an empty ``namespace`` asks for all of them."""
        asked = {"verb": verb, "group": res.group, "resource": res.plural}
        more = {"namespace": namespace, "subresource": subresource, "name": name}
        wanted = {**asked, **{key: value for key, value in more.items() if value}}
        review = {
            "apiVersion": _REVIEWS.api,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        told = self._asked(Call("create", _REVIEWS), _soon(), body=review)
        return _below(told, "status").get("allowed") is True

    def account(self) -> str:
        """Return as whom the server knows us; empty where it is too old to tell (before 1.28)."""
        review = {"apiVersion": _SELF.api, "kind": "SelfSubjectReview"}
        try:
            told = self._asked(Call("create", _SELF), _soon(), body=review)
        except MissingError:
            return ""
        return str(_below(_below(told, "status"), "userInfo").get("username", ""))

    def version(self) -> str:
        """Return the server's version: ``v1.33.1``."""
        call = Call("get", Res("", "version"))
        request = httpx2.Request("GET", f"{self._credentials.server.rstrip('/')}/version")
        return str(self._told(call, request, _soon()).get("gitVersion", ""))

    def clock_s(self) -> float | None:
        """Return what the server's clock shows now [s since the epoch], by its last answer."""
        if self._date is None:
            return None
        date_s, at = self._date
        return date_s + time.monotonic() - at

    def close(self) -> None:
        """Close all connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    def _asked(
        self,
        call: Call,
        until: float,
        *,
        body: dict[str, Any] | None = None,
        params: dict[str, str | None] | None = None,
    ) -> dict[str, Any]:
        return self._told(call, self._request(call, body=body, params=params), until)

    def _request(
        self,
        call: Call,
        *,
        body: dict[str, Any] | None = None,
        params: dict[str, str | None] | None = None,
    ) -> httpx2.Request:
        for part in (call.namespace, call.name, call.res.plural, call.subresource):
            if part and not _SEGMENT.fullmatch(part):
                raise InvalidError(f"{part!r} is no name of an object or a namespace.")
        asked = self._client.prepare_request(
            _METHODS.get(call.verb, call.verb),
            _resource(call.res, call.subresource, namespaced=bool(call.namespace)),
            body,
            call.name or None,
            call.namespace or None,
            watch=call.verb == "watch",
            params=params,
            headers={"Content-Type": MERGE} if call.verb == "patch" else {},
        )
        return self._client.build_adapter_request(asked)

    def _told(self, call: Call, request: httpx2.Request, until: float) -> dict[str, Any]:
        answer = self._opened(call, request, until)
        try:
            with named(), deadline(until):
                return object_of(body_of(answer))
        finally:
            answer.close()

    def _opened(self, call: Call, request: httpx2.Request, until: float) -> httpx2.Response:
        """Return an answer whose body is still to come. The caller closes it."""
        self._check(until)
        shown = self._ourselves(until)
        answer = self._sent(request, shown, until)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and self._plugin:
            # Nothing was done, and what the plugin printed may have been withdrawn.
            answer.close()
            self._plugin.forget(shown)
            answer = self._sent(request, self._ourselves(until), until)
        date_s = date_of(answer.headers.get("date", ""))
        self._date = None if date_s is None else (date_s, time.monotonic())
        if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        try:
            raise self._refused(call, answer, until)
        finally:
            answer.close()

    def _sent(self, request: httpx2.Request, shown: Shown, until: float) -> httpx2.Response:
        left = max(0.0, until - time.monotonic())
        request.headers.update(self._headers(shown.token))
        request.extensions = {"timeout": {"connect": min(CONNECT_S, left), "pool": left}}
        with named(), deadline(until):
            answer: httpx2.Response = self._client.send(request, stream=True)
        return answer

    def _ourselves(self, until: float) -> Shown:
        """Return as whom to ask; another certificate than before takes new connections."""
        path, plugin = self._credentials.token_file, self._plugin
        if plugin is None:
            return replace(self._shown, token=_read(path) if path else self._credentials.token)
        shown = plugin.shown(until)
        if (shown.certificate, shown.key) != (self._shown.certificate, self._shown.key):
            # The old ones may serve another thread still, and close when it is done.
            self._client, self._shown = _client(self._credentials, shown), shown
        return shown

    def _check(self, until: float) -> None:
        if until <= time.monotonic():
            raise UnreachableError("No time is left to ask.", sent=False)
        wait_s = self._pause.left_s() if self._pause else 0.0
        if wait_s > 0:
            text = f"The API server asked to wait; {wait_s:.0f} s of that are left."
            raise ThrottledError(text, wait_s=wait_s)

    def _headers(self, token: str) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": self._agent,
        }
        return {**headers, "Authorization": f"Bearer {token}"} if token else headers

    def _refused(self, call: Call, answer: httpx2.Response, until: float) -> KubeError:
        try:
            with named(), deadline(until):
                told = object_of(body_of(answer, _MOST_REFUSAL))
        except UnreachableError:
            # A page of a proxy, or a message cut off: the status says enough.
            told = {}
        found = error_of(call, answer.status_code, answer.headers, told)
        if isinstance(found, ThrottledError) and self._pause:
            self._pause.told(found.wait_s)
        return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        text = f"The token of the pod's account can't be read: {path}."
        raise UnreachableError(text, sent=False) from None


def _client(credentials: Credentials, shown: Shown) -> GenericSyncClient:
    """Return lightkube's client on our own line. Raises :class:`UnreachableError`."""
    try:
        _, host, _ = reach.origin(credentials.server)
        reach.check_host(host, reach.Reach())
    except AddressError as fault:
        raise UnreachableError(str(fault), sent=False) from None
    wire = Wire(trust(credentials.ca, shown.certificate, shown.key))
    config = SingleConfig("", Context(cluster=""), Cluster(server=credentials.server), User())
    terms = ConnectionParams(trust_env=False, transport=wire, http2=False)
    return GenericSyncClient(terms, config)


@cache
def _resource(res: Res, subresource: str, *, namespaced: bool) -> type[Any]:
    """Return a class of lightkube for a kind that it need not know."""
    *group, version = res.api.split("/")
    parent = ResourceDef("".join(group), version, res.plural)
    about = ApiInfo(
        resource=parent,
        plural=res.plural,
        verbs=_VERBS,
        parent=parent,
        action=subresource or None,
    )
    kind = GenericNamespacedResource if namespaced else GenericGlobalResource
    return type(res.plural, (kind,), {"_api_info": about})


def _soon() -> float:
    return time.monotonic() + ASK_S


def _below(told: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = told.get(key)
    return found if isinstance(found, dict) else {}


def _page(found: dict[str, Any]) -> tuple[Page, str]:
    items = found.get("items")
    if not isinstance(items, list | None) or "metadata" not in found:
        raise UnreachableError("The answer is no list of objects.", sent=True)
    about = _below(found, "metadata")
    objects = [each if isinstance(each, dict) else {} for each in items or ()]
    page = Page(objects, str(about.get("resourceVersion") or ""))
    return page, str(about.get("continue") or "")


def _lines(answer: httpx2.Response) -> Iterator[bytes]:
    """Yield whole lines; one without an end was cut off."""
    held = bytearray()
    for chunk in answer.iter_raw():
        *whole, rest = (held + chunk).split(b"\n")
        yield from (bytes(each) for each in whole if each.strip())
        held = bytearray(rest)
        if len(held) > MOST_EVENT:
            raise UnreachableError("An event is larger than 8 MiB.", sent=True)
    if held.strip():
        raise UnreachableError("An event was cut off.", sent=True)


def _event(call: Call, line: bytes) -> tuple[str, dict[str, Any]]:
    told = object_of(line)
    kind, found = str(told.get("type", "")), dict(_below(told, "object"))
    if kind != "ERROR":
        return kind, found
    code = found.get("code")
    raise error_of(call, code if isinstance(code, int) else 500, {}, found)
