"""Engine profiles to choose from: those built in and those people keep."""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from difflib import get_close_matches

from controller.models import EngineProfile
from controller.simulator.profile_file import ProfileError, read_profile
from controller.simulator.profiles import PROFILES, Profile


def every_profile() -> Mapping[str, Profile]:
    """Return every profile by its name, the built-in ones first; one query.

    A built-in profile hides a kept one of its name. Raises :class:`ProfileError` naming a kept
    profile that can't be read any more.
    """
    return {**PROFILES, **{n: p for n, p in own_profiles().items() if n not in PROFILES}}


def own_profiles() -> dict[str, Profile]:
    """Return the profiles people keep, by name; one query."""
    rows = EngineProfile.objects.values_list("name", "body")
    return {name: _read(name, body) for name, body in rows}


def readable(names: Collection[str] | None) -> dict[str, Profile]:
    """Return those of the named profiles that people keep and that can be read; one query.

    ``None`` names all.
    """
    found = {}
    rows = (
        EngineProfile.objects.all()
        if names is None
        else EngineProfile.objects.filter(name__in=names)
    )
    for name, body in rows.values_list("name", "body"):
        # What can't be read any more must not stop the services that don't name it (S24).
        with suppress(ProfileError):
            found[name] = _read(name, body)
    return found


def problem_of(name: str) -> str:
    """Return in a sentence why no engine's speeds are known by this name; empty if they are."""
    if not name or name in PROFILES:
        return ""
    rows = dict(EngineProfile.objects.values_list("name", "body"))
    if name not in rows:
        close = get_close_matches(name, (*PROFILES, *rows), n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(close)}?" if close else "Choose one that is kept."
        return f"There is no engine profile {name}. {hint}"
    try:
        _read(name, rows[name])
    except ProfileError as fault:
        return f"The engine profile can't be read: {fault}."
    return ""


def _read(name: str, body: object) -> Profile:
    return read_profile(json.dumps(body).encode(), name)
