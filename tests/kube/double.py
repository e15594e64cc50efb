"""The double itself: a server, its objects, its accounts, and what tests do to it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import yaml

from tests.kube import listing, patches
from tests.kube.accounts import EVERYTHING, Accounts, Rule
from tests.kube.api import Api
from tests.kube.controllers import Controllers
from tests.kube.faults import Fault, Trap, Traps
from tests.kube.fields import Writer
from tests.kube.granting import granted
from tests.kube.kinds import KINDS, Kind
from tests.kube.objects import Change, Hook, Objects
from tests.kube.selectors import by_labels
from tests.kube.server import Server, parted
from tests.kube.store import Key, Object, Store, Write
from tests.kube.tls import Certificates
from tests.kube.wire import Reply, Request

ADMIN = "kubernetes-admin"
POLL_S = 0.002


def _utc() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a server of its own reads its own clock


class Double:
    """A Kubernetes API server for tests. See the package for how it is used."""

    def __init__(
        self,
        *,
        port: int = 0,
        tls: bool = False,
        clock: Callable[[], datetime] = _utc,
        bookmark_s: float = 60.0,
        kinds: Iterable[Kind] = KINDS,
    ) -> None:
        self.skew = timedelta(0)
        """How far the clock of this cluster is ahead."""
        self.bookmark_s = bookmark_s
        self.requests: list[Request] = []
        """Every request that came, in order."""
        self._clock = clock
        self._lock = threading.Lock()
        self.store = Store()
        self.objects = Objects(self.store, self.now)
        self.accounts = Accounts()
        self.api = Api(self.objects, self.accounts, kinds, self._begin_watch)
        self.controllers = Controllers(self.objects, self.api.kinds)
        self.kubelet = self.controllers.kubelet
        """How pods start and end: ``ready_after``, ``gone_after``, ``stuck``, ``unready``."""
        self.traps = Traps()
        self.certificates = Certificates() if tls else None
        self.token = self.accounts.add(ADMIN, [EVERYTHING])
        """Of an account that may do everything."""
        self._going = threading.Event()
        self._going.set()
        self._closing = False
        self._watches: list[listing.Watch] = []
        self._port = port
        self._server: Server | None = None

    # The server.

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen; on the same port as before when it was stopped."""
        tls = None if self.certificates is None else self.certificates.server()
        self._closing = False
        self._server = Server(self._port, self._take, self._answer, tls)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self) -> None:
        """Stop listening and end every connection: what asks now is refused."""
        if self._server is None:
            return
        self._closing = True
        self._going.set()
        with self.store.changed:
            self.store.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()
        self._server = None

    @property
    def address(self) -> str:
        return f"{'http' if self.certificates is None else 'https'}://127.0.0.1:{self._port}"

    def pause(self) -> None:
        """Let the cluster be dead to the world: connections are taken, nothing is answered."""
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    def now(self) -> datetime:
        """Return the time as this cluster has it."""
        return self._clock() + self.skew

    def _take(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Request:
        path, query = parted(target)
        with self._lock:
            number = len(self.requests) + 1
            request = Request(number, method, path, query, headers, raw, self.now())
            self.requests.append(request)
        return request

    def _answer(self, request: Request) -> Reply:
        begun_s = time.perf_counter()
        self._going.wait()
        if self._closing:
            return Reply(silent=True)
        fault = self.traps.take(request)
        reply = self.api.serve(request) if fault is None else fault(request, self.api.serve)
        request.code = None if reply.silent else reply.code
        request.took_s = time.perf_counter() - begun_s
        return reply

    def _begin_watch(self, asked: listing.Asked) -> Reply:
        began = self._server
        listing.check_watch(self.store, asked)
        watch = listing.Watch(
            self.store,
            asked,
            self.bookmark_s,
            gone=lambda: self._closing or self._server is not began,
            wait=self._going.wait,
        )
        return Reply(stream=self._lines(watch))

    def _lines(self, watch: listing.Watch) -> Iterator[bytes]:
        self._watches.append(watch)
        try:
            yield from watch.lines()
        finally:
            self._watches.remove(watch)

    # Access.

    def account(self, name: str, rules: Iterable[Rule] = (EVERYTHING,), token: str = "") -> str:
        """Make an account; its token."""
        return self.accounts.add(name, rules, token)

    def grant(self, manifests: Iterable[Object]) -> str:
        """Make the account that roles and bindings of a manifest are for; its token."""
        ((name, rules),) = granted(list(manifests)).items()
        return self.account(name, rules)

    def kubeconfig(self, path: Path, *, token: str = "", namespace: str = "default") -> Path:
        """Write a kubeconfig that leads here."""
        cluster: dict[str, Any] = {"server": self.address}
        if self.certificates is not None:
            cluster["certificate-authority-data"] = self.certificates.ca_data
        names = {"cluster": "double", "user": "double", "namespace": namespace}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "double",
                    "clusters": [{"name": "double", "cluster": cluster}],
                    "users": [{"name": "double", "user": {"token": token or self.token}}],
                    "contexts": [{"name": "double", "context": names}],
                }
            )
        )
        return path

    # Objects, past the wire: what other people and controllers do.

    def kind(self, named: str | Object) -> Kind:
        """Return a kind by plural, ``plural.group``, or an object of it."""
        for kind in self.api.kinds:
            if isinstance(named, str):
                if named in {kind.plural, kind.resource}:
                    return kind
            elif (named.get("apiVersion"), named.get("kind")) == (kind.api, kind.name):
                return kind
        raise LookupError(f"no kind {named if isinstance(named, str) else named.get('kind')!r}")

    def key(self, kind: str, namespace: str, name: str) -> Key:
        found = self.kind(kind)
        return Key(found, namespace if found.namespaced else "", name)

    def put(self, *bodies: Object, by: str = "kubectl", checked: bool = True) -> None:
        """Create objects, or replace them with their status; ``checked=False``: as they are."""
        for body in bodies:
            self._put(body, Change(Writer(by), checked=checked))

    def _put(self, body: Object, change: Change) -> None:
        kind, meta = self.kind(body), body["metadata"]
        key = Key(kind, meta.get("namespace", "") if kind.namespaced else "", meta["name"])
        present = self.store.read(key)
        if present is None:
            self.objects.create(kind, patches.copied(body), change)
            return
        self.objects.update(key, lambda _: patches.copied(body), change)
        if kind.status and "status" in body:
            writer = replace(change.writer, subresource="status")
            self.objects.update(
                key, lambda _: patches.copied(body), replace(change, writer=writer)
            )

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return an object; raises ApiError (404) when there is none."""
        return self.objects.get(self.key(kind, namespace, name)).copy()

    def all(self, kind: str, namespace: str = "", labels: str = "") -> list[Object]:
        """Return objects of a kind that a label selector chooses, by namespace and name."""
        found = self.store.all(self.kind(kind), namespace)
        test = by_labels(labels) or (lambda _: True)
        return [each.copy() for each in found if test(each.body)]

    def change(
        self, kind: str, namespace: str, name: str, patch: Object, *, by: str = "kubectl"
    ) -> Object:
        """Merge a patch into an object as somebody else; ``status`` goes by its own door."""
        key = self.key(kind, namespace, name)
        main = {part: each for part, each in patch.items() if part != "status"}
        if main:
            self.objects.update(key, lambda old: patches.merged(old, main), Change(Writer(by)))
        if "status" in patch and key.kind.status:
            status = {"status": patch["status"]}
            self.objects.update(
                key,
                lambda old: patches.merged(old, status),
                Change(Writer(by, subresource="status")),
            )
        return self.objects.get(key).copy()

    def scale(self, kind: str, namespace: str, name: str, replicas: int, by: str) -> None:
        """Set a count through the scale subresource, as an HPA does."""
        key = self.key(kind, namespace, name)
        writer = Writer(by, subresource="scale")
        self.objects.update(
            key,
            lambda old: patches.merged(old, {"spec": {"replicas": replicas}}),
            Change(writer),
        )

    def delete(self, kind: str, namespace: str, name: str, *, grace_s: int | None = 0) -> None:
        """Delete an object as somebody else."""
        key = self.key(kind, namespace, name)
        self.objects.delete(key, Change(Writer("kubectl")), grace_s=grace_s)

    def recreate(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and create one of the same name: its uid is another."""
        body = self.get(kind, namespace, name)
        self.delete(kind, namespace, name)
        body["metadata"].pop("resourceVersion")
        body.pop("status", None)
        self.put(body)

    def hook(self, hook: Hook) -> None:
        """Ask an admission webhook before each write."""
        self.objects.hooks.append(hook)

    # Controllers.

    def step(self, rounds: int = 1) -> int:
        """Let controllers, scheduler and kubelets look at the cluster; how many writes it made."""
        return sum(self.controllers.step() for _ in range(rounds))

    def settle(self, most: int = 200) -> None:
        """Let them go on until they have nothing to do for longer than pods take to start."""
        quiet, patience = 0, max(self.kubelet.ready_after, self.kubelet.gone_after) + 1
        for _ in range(most):
            quiet = 0 if self.step() else quiet + 1
            if quiet >= patience:
                return
        raise AssertionError(f"the cluster is not at rest after {most} rounds")

    def run(self, every_s: float = 0.1) -> None:
        """Let them go on by themselves until the double is closed."""
        threading.Thread(target=self._run, args=(every_s,), daemon=True).start()

    def _run(self, every_s: float) -> None:
        while not self._closing:
            if self._going.is_set():
                self.step()
            time.sleep(every_s)

    # Versions and watches.

    @property
    def version(self) -> int:
        """The latest resource version."""
        return self.store.version

    def compact(self) -> None:
        """Forget the past: older versions, continue tokens and new watches from there are 410."""
        self.store.compact()

    def end_watches(self, *, gone: bool = False) -> None:
        """End every watch: in order, or with an ERROR that says 410."""
        with self.store.changed:
            for watch in list(self._watches):
                watch.ended = "gone" if gone else "closed"
            self.store.changed.notify_all()

    def bookmark(self) -> None:
        """Send a bookmark to each watch that wants them."""
        with self.store.changed:
            for watch in list(self._watches):
                watch.marked += 1
            self.store.changed.notify_all()

    @property
    def watches(self) -> int:
        """How many watches run."""
        return len(self._watches)

    # Faults.

    def fault(  # noqa: PLR0913 - each narrows down what is hit
        self,
        fault: Fault,
        *,
        method: str = ".*",
        path: str = "",
        when: Callable[[Request], bool] = lambda _: True,
        nth: int = 1,
        times: int | None = 1,
    ) -> Trap:
        """Put a fault in the way of requests.

        ``method`` and ``path`` are regular expressions (the whole method, anywhere in the path);
        ``nth``: the first one that is hit; ``times``: how many are (None: all from then on).
        """
        return self.traps.add(
            Trap(fault, re.compile(method), re.compile(path), when, nth - 1, times)
        )

    def heal(self) -> None:
        """Take all faults away."""
        self.traps.clear()

    # What happened.

    def writes(
        self, kind: str = "", namespace: str = "", name: str = "", *, by: str = ""
    ) -> list[Write]:
        """Return writes to objects in the order of their versions; ``by``: manager or account."""
        return [
            write
            for write in list(self.store.writes)
            if (not kind or write.key.kind is self.kind(kind))
            and (not namespace or write.key.namespace == namespace)
            and (not name or write.key.name == name)
            and (not by or by in {write.manager, write.account})
        ]

    def asked(self, method: str = ".*", path: str = "", account: str = "") -> list[Request]:
        """Return requests whose method and path fit, as for ``fault``."""
        return [
            request
            for request in list(self.requests)
            if re.fullmatch(method, request.method)
            and re.search(path, request.path)
            and (not account or request.account == account)
        ]

    def wait_for(self, what: Callable[[], object], within_s: float = 10.0) -> None:
        """Wait until something holds; fails the test when it never does."""
        until = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < until, "it did not come to pass"
            time.sleep(POLL_S)
