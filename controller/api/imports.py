"""Imports for machines: ask, look, apply, cancel and revert; and the inventory as YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from controller.api.figures import StrangerError, refusal, require_session
from controller.selectors import imports
from controller.selectors.node_use import holders
from controller.services import imports as service
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
    SteeringError,
    TooManyError,
)
from controller.services.imports import Consent, Upload, Wanted
from inventory.importers.detect import AUTO, FORMATS, MAX_BYTES
from inventory.models import ImportRun
from inventory.selectors.exports import UnknownClusterError, exported

View = Callable[..., HttpResponse]
YES: Final = frozenset({"1", "true", "yes"})
WAITING: Final = 202
_REFUSALS: Final[Mapping[type[SteeringError], tuple[int, str]]] = {
    ConflictError: (409, "conflict"),
    ForbiddenError: (403, "forbidden"),
    InvalidError: (400, "bad_parameter"),
    MissingError: (404, "unknown_import"),
    TooManyError: (429, "too_many"),
}


def _answering(*methods: str) -> Callable[[View], View]:
    """Wrap a view of machines: a session, these methods, refusals as JSON."""

    def wrap(view: View) -> View:
        @wraps(view)
        def inside(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
            try:
                require_session(request)
                if "pk" in kwargs:
                    kwargs["pk"] = _id(str(kwargs["pk"]))
                return view(request, *args, **kwargs)
            except StrangerError:
                return refusal(401, "unauthenticated", "Sign in to use imports.", "session")
            except SteeringError as fault:
                status, code = _REFUSALS[type(fault)]
                return refusal(status, code, str(fault), getattr(fault, "field", "import"))

        return require_http_methods([*methods, "HEAD"])(inside)

    return wrap


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise MissingError("No import has this id.") from None


@_answering("GET", "POST")
def index(request: HttpRequest) -> HttpResponse:
    """List imports, newest first; or take files and plan them, with ``apply=true`` apply them."""
    if request.method != "POST":
        found = imports.listing(_filters(request), _page(request))
        rows = [_plain(row.run) for row in found.rows]
        return _json({"imports": rows, "page": found.page, "more": found.more})
    given = _given(request)
    services = holders(timezone.now())
    run = service.ask(
        _key(request, given),
        files=_uploads(request),
        wanted=_wanted(given),
        user=request.user,
        services=services,
    )
    if given.get("apply", "").lower() in YES and run.state == ImportRun.State.PLANNED:
        agreed = Consent(reason=given.get("reason", ""), gpus=_gpus(given))
        run = service.apply(run.pk, consent=agreed, user=request.user, services=services)
    return _one(run)


@_answering("GET")
def one(_request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return an import as it stands, with its plan in counts."""
    return _json(_plain(_find(pk)))


@_answering("GET")
def changes(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return one page of what an import changes: ``?operation=``, ``?kind=`` and ``?page=``."""
    _find(pk)
    operation, kind = (request.GET.get(name, "")[:20] for name in ("operation", "kind"))
    found = imports.changes(pk, operation=operation, kind=kind, page=_page(request))
    rows = [
        {
            "op": change.row.operation,
            "type": change.row.kind,
            "name": change.row.name,
            "cluster": change.row.cluster,
            "before": change.row.before,
            "fields": change.row.after,
            "held": change.row.held,
            "at": change.row.at,
        }
        for change in found.rows
    ]
    return _json({"objects": rows, "page": found.page, "more": found.more})


@_answering("POST")
def apply(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Apply a plan: ``digest`` of the one that was seen, ``reason``, ``gpus`` that go missing."""
    given = _given(request)
    agreed = Consent(given.get("digest", ""), _gpus(given), given.get("reason", ""))
    services = holders(timezone.now())
    run = service.apply(pk, consent=agreed, user=request.user, services=services)
    if run.state == ImportRun.State.PLANNED:
        raise ConflictError("The inventory changed meanwhile: look at the new plan.")
    return _one(run)


@_answering("POST")
def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """End an import that is not written yet."""
    return _one(service.cancel(pk, user=request.user))


@_answering("POST")
def revert(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Take an import back; the answer is the revert, an import of its own."""
    given = _given(request)
    run = service.revert(
        pk,
        key=_key(request, given),
        user=request.user,
        services=holders(timezone.now()),
        reason=given.get("reason", ""),
    )
    return _one(run)


@_answering("GET")
def inventory(request: HttpRequest) -> HttpResponse:
    """Return the inventory, or that of ``?cluster=``, as YAML that can be imported again."""
    cluster = request.GET.get("cluster", "")[:63]
    try:
        text = exported(cluster)
    except UnknownClusterError:
        return refusal(404, "unknown_cluster", f"There is no cluster {cluster}.", "cluster")
    name = f"inventory-{cluster or 'all'}.yaml"
    response = HttpResponse(text, content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


# Requests.


def _given(request: HttpRequest) -> Mapping[str, str]:
    """Return the options of a request: of its address, its form or its JSON object."""
    told = {name: str(value) for name, value in request.GET.items()}
    kind = request.content_type
    if kind in {"multipart/form-data", "application/x-www-form-urlencoded"}:
        return told | {name: str(value) for name, value in request.POST.items()}
    if kind == "application/json" and request.path != "/api/v1/imports/":
        try:
            body = orjson.loads(request.body or b"{}")
        except orjson.JSONDecodeError as fault:
            raise InvalidError("body", f"The body is no JSON: {fault}.") from fault
        if not isinstance(body, dict):
            raise InvalidError("body", "The body must be a JSON object.")
        return told | {str(name): str(value) for name, value in body.items()}
    return told


def _uploads(request: HttpRequest) -> list[Upload]:
    """Return the files of a form, or the body of the request as one file."""
    if request.content_type == "multipart/form-data":
        if getattr(request, "files_too_large", ()):
            raise InvalidError("files", f"A file has more than {MAX_BYTES // 2**20} MiB.")
        return [
            Upload(one.name or "file", one.read())
            for field in request.FILES
            for one in request.FILES.getlist(field)
        ]
    # Read as a stream, a little over the limit at most: a body has no other bound.
    body = request.read(MAX_BYTES + 1)
    return [Upload(request.GET.get("name", "body")[:200], body)] if body else []


def _wanted(given: Mapping[str, str]) -> Wanted:
    return Wanted(
        form=given.get("format") or AUTO,
        cluster=given.get("cluster", ""),
        level_keys=tuple(key.strip() for key in given.get("levels", "").split(",") if key.strip()),
        names=given.get("names", ""),
        part=given.get("part", "").lower() in YES,
    )


def _key(request: HttpRequest, given: Mapping[str, str]) -> UUID:
    text = request.headers.get("Idempotency-Key") or given.get("key", "")
    if not text:
        return uuid4()
    try:
        return UUID(text)
    except ValueError:
        raise InvalidError("Idempotency-Key", "Use a UUID as Idempotency-Key.") from None


def _gpus(given: Mapping[str, str]) -> int | None:
    text = given.get("gpus", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9):  # noqa: PLR2004
        raise InvalidError("gpus", "Use a whole number of GPUs.")
    return int(text)


def _filters(request: HttpRequest) -> imports.Filters:
    state, form = (request.GET.get(name, "") for name in ("state", "format"))
    if state and state not in ImportRun.State.values:
        raise InvalidError("state", f"Use {', '.join(ImportRun.State.values)}.")
    if form and form not in FORMATS:
        raise InvalidError("format", f"Use {', '.join(FORMATS)}.")
    mine = request.user.pk if request.GET.get("mine") == "1" else None
    return imports.Filters(state, form, request.GET.get("cluster", "")[:63], mine)


def _page(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 6 and int(text)):  # noqa: PLR2004
        raise InvalidError("page", "Use a whole number from 1 on.")
    return int(text)


# Answers.


def _find(pk: UUID) -> ImportRun:
    found = imports.find(pk)
    if found is None:
        raise MissingError("No import has this id.")
    return found.run


def _one(run: ImportRun) -> HttpResponse:
    working = {ImportRun.State.QUEUED, ImportRun.State.PLANNING}
    working |= {ImportRun.State.ASKED, ImportRun.State.APPLYING}
    return _json(_plain(run), status=WAITING if run.state in working else 200)


def _plain(run: ImportRun) -> dict[str, Any]:
    return {
        "id": str(run.pk),
        "url": run.get_absolute_url(),
        "state": run.state,
        "format": run.format,
        "created_at": run.created_at,
        "created_by": run.created_name,
        "plan": run.counts,
        "changes": run.total,
        "done": run.done,
        "digest": run.digest,
        "summary": run.summary,
        "warnings": run.warnings,
        "notes": run.notes,
        "impact": run.impact,
        "errors": run.errors,
        "further_errors": run.further_errors,
        "shrink": run.shrink,
        "applied": run.state == ImportRun.State.APPLIED,
        "applied_at": run.applied_at,
        "applied_by": run.applied_name or None,
        "inventory_version": run.inventory_version,
        "reverts": str(run.reverts_id) if run.reverts_id else None,
        "error": run.error or None,
    }


def _json(body: object, status: int = 200) -> HttpResponse:
    response = HttpResponse(orjson.dumps(body), content_type="application/json", status=status)
    response["Cache-Control"] = "private, no-cache"
    return response
