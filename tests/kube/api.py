"""From a path to what is done: the verbs of the API (Kubernetes API concepts, "API verbs")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tests.kube import accounts, fields, listing, patches, schema
from tests.kube.accounts import Account, Accounts
from tests.kube.fields import Writer
from tests.kube.kinds import Kind
from tests.kube.objects import Change, Objects
from tests.kube.scales import patched_scale, scale_of, with_scale
from tests.kube.status import ApiError, Cause, bad_request, details, invalid, no_such_path
from tests.kube.store import Key, Object, Stored
from tests.kube.wire import Reply, Request

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0",
    "platform": "linux/amd64",
}
REVIEWS = {
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": "selfsubjectaccessreviews",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews": "selfsubjectreviews",
}
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
OPEN = frozenset({"/version", "/healthz", "/livez", "/readyz"})
Begin = Callable[[listing.Asked], Reply]


@dataclass(frozen=True)
class Target:
    """What a path means."""

    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace if self.kind.namespaced else "", self.name)


class Api:
    """One cluster's API."""

    def __init__(
        self, objects: Objects, known: Accounts, kinds: Iterable[Kind], begin_watch: Begin
    ) -> None:
        self.objects = objects
        self.accounts = known
        self.kinds = list(kinds)
        self.begin_watch = begin_watch

    def serve(self, request: Request) -> Reply:
        """Answer a request; what is wrong is answered as a Status."""
        try:
            return self._serve(request)
        except ApiError as error:
            return Reply.error(error)

    def _serve(self, request: Request) -> Reply:
        account = self.accounts.who(request.headers.get("authorization", ""))
        request.account = account.name
        if (found := self._not_an_object(request, account)) is not None:
            return found
        target = self._target(request.path)
        verb = verb_of(request, target)
        request.verb, request.namespace, request.name = verb, target.namespace, target.name
        asked = accounts.Asked(
            verb,
            target.kind.group,
            target.kind.plural,
            target.subresource,
            target.namespace,
            target.name,
        )
        request.resource = asked.resource
        if not account.may(asked):
            raise accounts.forbidden(account, asked)
        return self._do(verb, request, target)

    def _not_an_object(self, request: Request, account: Account) -> Reply | None:
        path = request.path.rstrip("/")
        if path in OPEN:
            return (
                Reply.of(VERSION) if path == "/version" else Reply(body=b"ok", kind="text/plain")
            )
        if path in REVIEWS and request.method == "POST":
            request.resource, request.verb = REVIEWS[path], "create"
            return Reply.of(accounts.review(account, self._body(request) or {}), 201)
        found = discovered(self.kinds, path) if request.method == "GET" else None
        return None if found is None else Reply.of(found)

    def _target(self, path: str) -> Target:
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            api, rest = "/".join(parts[1:2]), parts[2:]
        else:
            api, rest = "/".join(parts[1:3]), parts[3:]
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in {"status", "finalize"}:
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = (*rest, "", "", "")[:3]
        kind = next((k for k in self.kinds if k.api == api and k.plural == plural), None)
        if kind is None or len(rest) > 3 or not _offers(kind, subresource):
            raise no_such_path()
        if not kind.namespaced and plural == "namespaces" and name:
            namespace = name
        return Target(kind, namespace, name, subresource)

    def _do(self, verb: str, request: Request, target: Target) -> Reply:
        if verb in {"list", "watch"}:
            asked = listing.Asked(target.kind, target.namespace, request.query, request.version)
            if verb == "watch":
                return self.begin_watch(asked)
            return Reply(body=listing.listed(self.objects.store, asked))
        if target.subresource == "eviction" and verb == "create":
            change = self._change(request, target)
            self.objects.delete(target.key, change)
            return Reply.of(success(target), 201)
        do = {
            "get": self._get,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_all,
        }[verb]
        return do(request, target)

    def _get(self, request: Request, target: Target) -> Reply:
        listing.not_newer_than_now(
            self.objects.store, listing.number(request.query.get("resourceVersion", ""))
        )
        found = self.objects.get(target.key, request.version)
        return self._shown(found, target)

    def _shown(self, found: Stored, target: Target, code: int = 200) -> Reply:
        if target.subresource == "scale":
            return Reply.of(scale_of(target.kind, found.body), code)
        if found.text:
            return Reply(code, found.text)
        return Reply.of(found.body, code)

    def _create(self, request: Request, target: Target) -> Reply:
        body = self._object(request, target)
        schema.decodable(target.kind, body, patched=False)
        if target.kind.namespaced:
            meta = body["metadata"] = dict(body.get("metadata") or {})
            if meta.setdefault("namespace", target.namespace) != target.namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace "
                    "sent on the request"
                )
        made = self.objects.create(target.kind, body, self._change(request, target))
        return self._shown(made, target, 201)

    def _update(self, request: Request, target: Target) -> Reply:
        body = self._object(request, target)
        if target.subresource == "scale":
            return self._scaled(request, target, lambda _present: body)
        schema.decodable(target.kind, body, patched=False)
        if not target.kind.builtin and not (body.get("metadata") or {}).get("resourceVersion"):
            text = "Invalid value: 0: must be specified for an update"
            cause = Cause("metadata.resourceVersion", text)
            raise invalid(target.kind, target.name, [cause])
        stored = self.objects.update(target.key, lambda _old: body, self._change(request, target))
        return self._shown(stored, target)

    def _patch(self, request: Request, target: Target) -> Reply:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind == patches.APPLY:
            return self._apply(request, target)
        make = self._patcher(kind, request, target)
        if target.subresource == "scale":
            return self._scaled(request, target, make)

        def outcome(old: Object) -> Object:
            made = make(old)
            if not isinstance(made, dict):
                raise bad_request("the patch does not make an object")
            schema.decodable(target.kind, made, patched=True)
            return made

        stored = self.objects.update(target.key, outcome, self._change(request, target))
        return self._shown(stored, target)

    def _patcher(self, kind: str, request: Request, target: Target) -> Callable[[Object], Object]:
        body = self._body(request)
        if kind == patches.MERGE:
            return lambda old: patches.merged(old, body)
        if kind == patches.JSON:
            return lambda old: patches.operated(old, body)
        if kind == patches.STRATEGIC and target.kind.builtin:
            return lambda old: patches.strategic(old, body)
        text = (
            f"the body of the request was in an unknown format - {kind or 'none'} is not taken "
            f"for {target.kind.resource}"
        )
        raise ApiError(415, text)

    def _scaled(self, request: Request, target: Target, make: Callable[[Object], Object]) -> Reply:
        def outcome(old: Object) -> Object:
            return with_scale(target.kind, old, patched_scale(target.kind, old, make))

        stored = self.objects.update(target.key, outcome, self._change(request, target))
        return self._shown(stored, target)

    def _apply(self, request: Request, target: Target) -> Reply:
        manager = request.query.get("fieldManager")
        if not manager:
            raise bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: is required for apply patch"
            )
        wish = yaml.safe_load(request.raw)
        if not isinstance(wish, dict) or wish.get("kind") not in {target.kind.name, "Scale"}:
            raise bad_request("an apply patch names apiVersion and kind of the object")
        if target.subresource == "scale":
            return self._scaled(request, target, lambda old: patches.merged(old, wish))
        meta = wish["metadata"] = dict(wish.get("metadata") or {})
        meta.setdefault("name", target.name)
        if target.kind.namespaced:
            meta.setdefault("namespace", target.namespace)
        if meta.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        schema.decodable(target.kind, wish, patched=False)
        force = request.query.get("force") == "true"
        change = self._change(request, target)
        writer = replace(change.writer, operation="Apply")
        change = replace(change, writer=writer, wished=frozenset(fields.leaves(wish)))

        def outcome(old: Object) -> Object:
            return fields.applied(target.kind, old or None, wish, writer, force=force)

        with self.objects.store.changed:
            there = self.objects.store.read(target.key) is not None
            stored = self.objects.update(target.key, outcome, change, create=True)
        return self._shown(stored, target, 200 if there else 201)

    def _delete(self, request: Request, target: Target) -> Reply:
        options = self._body(request) or {}
        grace = request.query.get("gracePeriodSeconds", options.get("gracePeriodSeconds"))
        last = self.objects.delete(
            target.key,
            self._change(request, target),
            grace_s=None if grace is None else int(grace),
            only_if=options.get("preconditions"),
        )
        if self.objects.store.read(target.key) is None and target.kind.plural != "pods":
            return Reply.of(success(target, last.body["metadata"]["uid"]))
        return self._shown(last, target)

    def _delete_all(self, request: Request, target: Target) -> Reply:
        asked = listing.Asked(target.kind, target.namespace, request.query)
        test = asked.test
        change = self._change(request, target)
        for each in self.objects.store.all(target.kind, target.namespace):
            if test(each.body):
                meta = each.body["metadata"]
                self.objects.delete(
                    Key(target.kind, meta.get("namespace", ""), meta["name"]), change
                )
        return Reply.of(success(target))

    def _change(self, request: Request, target: Target) -> Change:
        agent = request.agent
        manager = request.query.get("fieldManager") or agent.partition("/")[0] or "unknown"
        writer = Writer(manager, request.account, "Update", target.subresource, agent)
        dry = request.query.get("dryRun")
        if dry not in {None, "All"}:
            raise bad_request(f'Invalid value: "{dry}": dryRun takes All alone')
        return Change(writer, dry_run=dry == "All")

    def _object(self, request: Request, target: Target) -> Object:
        body = self._body(request)
        if not isinstance(body, dict):
            raise bad_request("an object is wanted as body")
        kind = target.kind.name if target.subresource != "scale" else "Scale"
        if body.get("kind", kind) != kind:
            raise bad_request(
                f"the API version in the data ({body.get('apiVersion')}) and its kind "
                f"({body.get('kind')}) do not match what is expected ({target.kind.api}, {kind})"
            )
        return body

    def _body(self, request: Request) -> Any:
        try:
            return request.body
        except ValueError as error:
            raise bad_request(f"error decoding the body: {error}") from None


def _offers(kind: Kind, subresource: str) -> bool:
    return subresource in {
        "",
        *(("scale",) if kind.scale else ()),
        *(("status",) if kind.status else ()),
        *(("eviction",) if kind.plural == "pods" else ()),
    }


def verb_of(request: Request, target: Target) -> str:
    """Return the verb that rules speak of (Kubernetes, "Authorization", "request verb")."""
    verb = VERBS.get(request.method)
    if verb is None or (verb == "create" and target.name and not target.subresource):
        raise ApiError(405, "the server does not allow this method on the requested resource")
    if target.name:
        return verb
    if verb == "get":
        return "watch" if request.query.get("watch") in {"1", "true"} else "list"
    if verb in {"update", "patch"}:
        raise ApiError(405, "the server does not allow this method on the requested resource")
    return "deletecollection" if verb == "delete" else verb


def success(target: Target, uid: str = "") -> Mapping[str, Any]:
    """Say that something was done to what is no more."""
    about = details(target.kind, target.name, **({"uid": uid} if uid else {}))
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": about,
    }


def discovered(kinds: Iterable[Kind], path: str) -> Mapping[str, Any] | None:
    """Answer discovery (Kubernetes, "The Kubernetes API", "API Discovery").

    None: there is no such place.
    """
    groups = {kind.group: kind.version for kind in kinds if kind.group}
    places: dict[str, Mapping[str, Any]] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [_group(group, version) for group, version in groups.items()],
        },
        **{
            f"/apis/{group}": {"kind": "APIGroup", "apiVersion": "v1", **_group(group, version)}
            for group, version in groups.items()
        },
    }
    here = [kind for kind in kinds if kind.root == path]
    if here:
        found = [each for kind in here for each in _resources(kind)]
        return {"kind": "APIResourceList", "groupVersion": here[0].api, "resources": found}
    return places.get(path)


def _group(group: str, version: str) -> dict[str, Any]:
    one = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [one], "preferredVersion": one}


def _resources(kind: Kind) -> Iterable[dict[str, Any]]:
    every = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    base = {"singularName": kind.name.lower(), "namespaced": kind.namespaced}
    yield {"name": kind.plural, **base, "kind": kind.name, "verbs": every}
    some = ["get", "patch", "update"]
    if kind.scale is not None:
        yield {
            "name": f"{kind.plural}/scale",
            "singularName": "",
            "namespaced": kind.namespaced,
            "group": "autoscaling",
            "version": "v1",
            "kind": "Scale",
            "verbs": some,
        }
    if kind.status:
        yield {
            "name": f"{kind.plural}/status",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": some,
        }
