"""Imports as people steer them: asked for once, planned, applied, cancelled and reverted."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from controller.services import audit, caps, import_jobs, people
from controller.services.errors import ConflictError, InvalidError, MissingError, TooManyError
from controller.services.people import Person
from inventory.importers.checks import name_problem
from inventory.importers.detect import AUTO, FORMATS, MAX_BYTES
from inventory.limits import SLUG
from inventory.models import ImportRun
from inventory.services import importing, reverting
from inventory.services.importing import Upload, Wanted
from inventory.services.run_states import move
from inventory.summaries import Holders

State = ImportRun.State
SMALL_BYTES: Final = 2**20
SMALL_CHANGES: Final = 500
"""More than either is left to a worker, so that nobody waits for a page."""

MOST_FILES: Final = 200
MOST_BYTES: Final = 2 * MAX_BYTES
MOST_WAITING: Final = 20
WAITING: Final = (State.QUEUED, State.PLANNING, State.ASKED, State.APPLYING)
__all__ = ["Consent", "Upload", "Wanted", "apply", "ask", "cancel", "replan", "revert"]


def ask(
    key: UUID, *, files: Sequence[Upload], wanted: Wanted, user: Person, services: Holders
) -> ImportRun:
    """Keep files as an import and plan it, at once if they are small; ``key`` is its id.

    The same request makes one import only. ``services`` are those with instances on nodes. The
    state of the answer says how far it is: planned, queued for a worker, or failed with the
    reason in ``error``. Raises :class:`ForbiddenError`, :class:`InvalidError`,
    :class:`TooManyError`, and :class:`ConflictError` when the key is somebody else's or asked for
    something else.
    """
    people.require(user, people.EDIT_FLEET)
    _check(files, wanted)
    size = sum(len(one.body) for one in files)
    with transaction.atomic():
        caps.one_at_a_time()
        found = ImportRun.objects.filter(pk=key).first()
        if found is not None:
            return _again(found, files, wanted, user)
        if ImportRun.objects.filter(state__in=WAITING).count() >= MOST_WAITING:
            raise TooManyError(
                f"{MOST_WAITING} imports wait already: try again when one is done, or cancel one."
            )
        run = ImportRun.objects.create(
            id=key,
            created_at=Now(),
            created_by=people.account_of(user),
            created_name=user.get_username()[:160],
            options=wanted.plain(),
        )
        importing.keep_files(run, files)
        audit.record(
            actor=user.get_username(),
            verb="uploaded an import",
            obj=run,
            after={"files": [one.name[:200] for one in files], "bytes": size},
        )
    return _planned(key, services, is_small=size <= SMALL_BYTES)


def replan(pk: UUID, *, wanted: Wanted, user: Person, services: Holders) -> ImportRun:
    """Plan an import anew with other choices: levels, merges, whether it is a part.

    Raises :class:`ForbiddenError`, :class:`MissingError`, :class:`InvalidError`, and
    :class:`ConflictError` when it is past being planned.
    """
    people.require(user, people.EDIT_FLEET)
    run = _get(pk)
    _check_wanted(wanted)
    with transaction.atomic():
        if not move(
            ImportRun.objects.filter(pk=pk, reverts=None),
            State.QUEUED,
            options=wanted.plain(),
            lost=0,
            error="",
            cancel_requested_at=None,
        ):
            raise ConflictError(_stands(_get(pk)))
        before, after = _choices(run.options, wanted.plain())
        audit.record(
            actor=user.get_username(),
            verb="planned an import anew",
            obj=run,
            before=before,
            after=after,
        )
    sizes = run.files.values_list("size", flat=True)
    return _planned(pk, services, is_small=sum(sizes) <= SMALL_BYTES)


def _choices(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the choices that differ as they were and are; a map of names by its length alone."""
    differing = [name for name in after if before.get(name) != after[name]]

    def told(side: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: side.get(name) for name in differing}
        if "names" in given:
            given["names"] = f"{len(given['names'] or ''):,} characters"
        return given

    return told(before), told(after)


def _planned(pk: UUID, services: Holders, *, is_small: bool) -> ImportRun:
    if is_small:
        import_jobs.carry_out(pk, services, is_alone=False)
    else:
        waiting = _get(pk)
        transaction.on_commit(lambda: import_jobs.enqueue(pk, waiting.attempts), robust=True)
    return _get(pk)


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person agrees to: the plan they saw, the GPUs that go missing, and why.

    ``digest`` is that of the plan that was shown, empty for whichever there is. ``gpus`` is the
    number of GPUs they typed where a cluster would lose more than a fifth of its nodes.
    """

    digest: str = ""
    gpus: int | None = None
    reason: str = ""


def apply(pk: UUID, *, consent: Consent, user: Person, services: Holders) -> ImportRun:
    """Write a planned import, at once if it is small. A second request changes nothing.

    Raises :class:`ForbiddenError`, :class:`MissingError`, :class:`InvalidError` with field
    ``gpus`` when much would go missing and the number typed is not that, and
    :class:`ConflictError` when it can't be applied or the plan is not the one that was seen.
    """
    people.require(user, people.EDIT_FLEET)
    reason = people.reason_text(consent.reason, needed=False)
    run = _get(pk)
    if run.state in {State.ASKED, State.APPLYING, State.APPLIED}:
        return run
    _check_plan(run, consent)
    with transaction.atomic():
        planned = ImportRun.objects.filter(pk=pk, state=State.PLANNED, digest=run.digest)
        asked = move(
            planned,
            State.ASKED,
            applied_name=user.get_username()[:160],
            reason=reason,
            lost=0,
            error="",
            cancel_requested_at=None,
        )
        if not asked:
            raise ConflictError(_stands(_get(pk)))
        audit.record(
            actor=user.get_username(),
            verb="asked to apply an import",
            obj=run,
            after={"counts": run.counts, "gpus_missing": _gpus(run)},
            reason=reason,
        )
    return _carried(run, services)


def _carried(run: ImportRun, services: Holders) -> ImportRun:
    pk, size = run.pk, sum(run.files.values_list("size", flat=True))
    if run.total <= SMALL_CHANGES and size <= SMALL_BYTES:
        import_jobs.carry_out(pk, services, is_alone=False)
    now = _get(pk)
    if now.state == State.ASKED:
        # It is large, or another one is being applied.
        transaction.on_commit(lambda: import_jobs.enqueue(pk, now.attempts), robust=True)
    return now


def cancel(pk: UUID, *, user: Person) -> ImportRun:
    """End an import that waits, and ask the worker of one at work to stop before it is written.

    A second request changes nothing. Raises :class:`ForbiddenError`, :class:`MissingError`, and
    :class:`ConflictError` when it has ended already.
    """
    people.require(user, people.EDIT_FLEET)
    with transaction.atomic():
        # Locked: one that begins meanwhile would be neither the one nor the other.
        run = ImportRun.objects.select_for_update(of=("self",)).filter(pk=pk).first()
        if run is None:
            raise MissingError(f"There is no import {pk}.")
        if run.state == State.CANCELLED:
            return run
        if run.state in ImportRun.ENDED:
            raise ConflictError(f"It was {run.get_state_display()} before it could be cancelled.")
        mine = ImportRun.objects.filter(pk=pk, cancel_requested_at=None)
        if run.state in ImportRun.RUNNING:
            changed = mine.update(cancel_requested_at=Now())
        else:
            changed = move(mine, State.CANCELLED, cancel_requested_at=Now())
        if changed:
            audit.record(
                actor=user.get_username(),
                verb="cancelled an import",
                obj=run,
                before={"state": run.state},
            )
    return _get(pk)


def revert(pk: UUID, *, key: UUID, user: Person, services: Holders, reason: str = "") -> ImportRun:
    """Take back what an import changed, as far as nobody changed it since; returns the revert.

    The revert is an import of its own with id ``key``, whose notes name what was kept. Raises
    :class:`ForbiddenError`, :class:`MissingError`, and :class:`ConflictError` when the import is
    not applied or is being reverted.
    """
    people.require(user, people.EDIT_FLEET)
    why = people.reason_text(reason, needed=False)
    with transaction.atomic():
        run = ImportRun.objects.select_for_update(of=("self",)).filter(pk=pk).first()
        if run is None:
            raise MissingError(f"There is no import {pk}.")
        made = ImportRun.objects.filter(pk=key).first()
        if made is not None:
            if made.reverts_id != pk:
                raise ConflictError("This key was used for another import: ask anew.")
            return made
        open_ones = run.reverted_by.exclude(state__in=(State.FAILED, State.CANCELLED))
        if run.state != State.APPLIED or run.reverts_id or open_ones.exists():
            raise ConflictError(_stands(run))
        made = ImportRun.objects.create(
            id=key,
            created_at=Now(),
            created_by=people.account_of(user),
            created_name=user.get_username()[:160],
            applied_name=user.get_username()[:160],
            state=State.ASKED,
            format="revert",
            reverts=run,
            reason=why,
            clusters=run.clusters,
            total=reverting.size_of(run),
        )
        audit.record(
            actor=user.get_username(),
            verb="asked to revert an import",
            obj=run,
            after={"revert": str(key)},
            reason=why,
        )
    return _carried(made, services)


# Checks.


def _get(pk: UUID) -> ImportRun:
    run = ImportRun.objects.select_related("reverts").filter(pk=pk).first()
    if run is None:
        raise MissingError(f"There is no import {pk}.")
    return run


def _stands(run: ImportRun) -> str:
    by = f" by {run.applied_name}" if run.applied_name else ""
    return f"The import is {run.get_state_display()}{by}: nothing was changed now."


def _check(files: Sequence[Upload], wanted: Wanted) -> None:
    if not files:
        raise InvalidError("files", "Choose a file, or paste what a tool printed.")
    if len(files) > MOST_FILES:
        raise InvalidError("files", f"{len(files)} files: at most {MOST_FILES} are read at once.")
    if sum(len(one.body) for one in files) > MOST_BYTES:
        most = MOST_BYTES // 2**20
        raise InvalidError("files", f"The files have more than {most} MiB: import them in parts.")
    _check_wanted(wanted)


def _check_wanted(wanted: Wanted) -> None:
    if wanted.form not in {AUTO, *FORMATS}:
        raise InvalidError("format", f"There is no format {wanted.form}: {', '.join(FORMATS)}.")
    if wanted.cluster and (problem := name_problem(wanted.cluster)):
        raise InvalidError("cluster", problem)
    if len(wanted.cluster) > SLUG:
        raise InvalidError("cluster", f"A cluster's name has at most {SLUG} characters.")


def _again(found: ImportRun, files: Sequence[Upload], wanted: Wanted, user: Person) -> ImportRun:
    account = people.account_of(user)
    if found.created_by_id != (account.pk if account else None):
        raise ConflictError("This form was sent by somebody else: send it again to import anew.")
    kept = list(found.files.values_list("sha256", flat=True))
    sent = [hashlib.sha256(one.body).hexdigest() for one in files]
    if kept != sent or found.options != wanted.plain():
        raise ConflictError(
            "This form was sent before with other files or choices, and that import stays as it "
            "is: send it again to start another one."
        )
    return found


def _check_plan(run: ImportRun, consent: Consent) -> None:
    if run.state != State.PLANNED:
        raise ConflictError(_stands(run))
    if consent.digest and consent.digest != run.digest:
        raise ConflictError("The plan changed after you saw it: look at it again.")
    if run.errors:
        count = len(run.errors) + run.further_errors
        word = "error" if count == 1 else "errors"
        raise ConflictError(f"The plan has {count:,} {word}: nothing can be applied before.")
    if run.shrink and consent.gpus != _gpus(run):
        raise InvalidError("gpus", _lost(run))


def _gpus(run: ImportRun) -> int:
    return sum(one.gpus for one in importing.shrink_of(run).values())


def _lost(run: ImportRun) -> str:
    told = ", ".join(
        f"{one.missing:,} of {one.of:,} nodes of {cluster}"
        for cluster, one in importing.shrink_of(run).items()
    )
    return (
        f"{told} would be marked missing, with {_gpus(run):,} GPUs: "
        "type the number of GPUs to go on, or say that the files list a part."
    )
