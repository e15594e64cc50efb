"""Imports in tests: asked for, applied and taken back, whoever carries them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from controller.services import import_jobs, imports
from controller.services.imports import Consent, Upload, Wanted
from controller.services.people import CommandLine, Person
from inventory.export import write
from inventory.models import ImportRun
from inventory.stored import read

ME: Final = CommandLine("tester")
NOBODY: Mapping[tuple[str, str], Sequence[str]] = {}


def upload(text: str, name: str = "fleet.csv") -> Upload:
    return Upload(name, text.encode())


def planned(*files: Upload, user: Person = ME, services: Any = NOBODY, **wanted: Any) -> ImportRun:
    """Return an import that waits to be looked at, or says why it never will."""
    chosen = Wanted(**{"cluster": "c", **wanted})
    run = imports.ask(uuid4(), files=files, wanted=chosen, user=user, services=services)
    return worked(run)


def applied(*files: Upload, gpus: int | None = None, **wanted: Any) -> ImportRun:
    """Return an import that was applied."""
    run = planned(*files, **wanted)
    assert (run.state, run.error) == ("planned", "")
    return apply(run, gpus=gpus)


def apply(run: ImportRun, gpus: int | None = None, user: Person = ME) -> ImportRun:
    consent = Consent(digest=run.digest, gpus=gpus)
    run = worked(imports.apply(run.pk, consent=consent, user=user, services=NOBODY))
    assert (run.state, run.error) == ("applied", "")
    return run


def reverted(run: ImportRun, services: Any = NOBODY) -> ImportRun:
    """Return the import that took another back."""
    back = imports.revert(run.pk, key=uuid4(), user=ME, services=services)
    back = worked(back, services)
    assert (back.state, back.error) == ("applied", "")
    return back


def worked(run: ImportRun, services: Any = NOBODY) -> ImportRun:
    """Carry out what was left to a worker."""
    if run.state in imports.WAITING:
        import_jobs.carry_out(run.pk, services, is_alone=False)
        run.refresh_from_db()
    return run


def exported() -> str:
    """Return the whole inventory as YAML."""
    return write(read().found())
