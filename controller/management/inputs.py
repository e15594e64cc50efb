"""What a command is given by name: files, and profiles built in, of a file, or kept."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from controller.management.answering import AnswerError
from controller.selectors.profiles import own_profiles
from controller.simulator.profile_file import ProfileError, read_profile
from controller.simulator.profiles import PROFILES, Profile


def read_file(path: Path) -> bytes:
    """Return what is in a file. Raises :class:`AnswerError` that names it."""
    try:
        return path.read_bytes()
    except OSError as fault:
        raise AnswerError("unreadable", fault.strerror or "can't be read", str(path)) from fault


def named_profile(name: str, kept: Mapping[str, Profile], where: str = "name") -> Profile:
    """Return a built-in profile, that of a file, or a kept one, whichever is there first.

    Raises :class:`AnswerError` with ``where`` when there is none.
    """
    if name in PROFILES:
        return PROFILES[name]
    path = Path(name)
    if path.suffix == ".json" or path.is_file():
        try:
            return read_profile(read_file(path), path.name)
        except ProfileError as fault:
            place = f"{path.name}, {fault.field}" if fault.field else path.name
            raise AnswerError("bad_profile", fault.problem, place) from fault
    if name not in kept:
        close = get_close_matches(name, (*PROFILES, *kept), n=3, cutoff=0.4)
        hint = f": did you mean {' or '.join(close)}?" if close else ""
        raise AnswerError(
            "no_such_profile", f"there is no profile and no file {name!r}{hint}", where
        )
    return kept[name]


def any_profile(name: str, where: str = "name") -> Profile:
    """Return a built-in profile, that of a file, or one kept in the product, which is asked last.

    Raises :class:`AnswerError` with ``where`` when there is none, and ``OperationalError`` when
    the product would have to be asked and its database is away.
    """
    try:
        return named_profile(name, {}, where)
    except AnswerError as fault:
        if fault.code != "no_such_profile":
            raise
    return named_profile(name, own_profiles(), where)
