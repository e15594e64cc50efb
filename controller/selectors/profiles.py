"""Engine profiles to choose from: those built in and those people keep."""

import json
from collections.abc import Mapping

from controller.models import EngineProfile
from controller.simulator.profile_file import read_profile
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
    return {name: read_profile(json.dumps(body).encode(), name) for name, body in rows}
