"""Which engine profiles are of a workload: its GPUs say it, and its names as far as they tell."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controller.simulator.profiles import Profile

_APART: Final = re.compile(r"[^a-z0-9.]+")
_SIZE: Final = re.compile(r"\d+(?:x\d+)?(?:\.\d+)?b")
_WORD: Final = re.compile(r"[a-z]{3,}")
_NO_WHOLE_CARD: Final = frozenset({"mig", "pcie", "nvl"})
"""Cards and slices of a name that are slower than what profiles were measured on."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """Names of the profiles that fit, the likeliest first; ``told`` where a name says the model.

    Else they fit by their GPUs alone, and which of them it is nobody knows.
    """

    names: tuple[str, ...]
    told: bool


@dataclass(frozen=True, slots=True)
class _Model:
    """What a name says of a model; empty where it does not."""

    family: str
    version: str
    size: str
    is_fp8: bool


def fitting(
    profiles: Mapping[str, Profile], hardware: Iterable[str], gpus: int, names: Iterable[str]
) -> Fitting:
    """Return which profiles are of an instance of ``gpus`` GPUs.

    ``hardware`` are the words by which its hardware type is called, ``names`` those that may tell
    its model. A family that is told must be the profile's, and so must a version and a size. Of
    those the one of the same precision comes first.
    """
    words = [word.lower() for word in hardware]
    parts = {part for word in words for part in _APART.split(word)}
    seated = [
        one
        for one in profiles.values()
        if one.tp == gpus
        and (one.hardware in words or (one.hardware in parts and not parts & _NO_WHOLE_CARD))
    ]
    families = {_of_profile(one).family for one in profiles.values()} - {""}
    told = next((each for name in names if (each := _model(name, families)).family), None)
    if told is None:
        return Fitting(tuple(one.name for one in seated), told=False)
    mine = [one for one in seated if _is_of(told, _of_profile(one))]
    mine.sort(key=lambda one: _of_profile(one).is_fp8 != told.is_fp8)
    return Fitting(tuple(one.name for one in mine), told=True)


def _is_of(told: _Model, one: _Model) -> bool:
    return (
        told.family == one.family
        and (not told.version or told.version == one.version)
        and (not told.size or told.size == one.size)
    )


def _of_profile(profile: Profile) -> _Model:
    """Return the model of a profile: its family is the last word before a figure."""
    name = profile.model.lower().rpartition("/")[2]
    words = _WORD.findall(re.split(r"\d", name, maxsplit=1)[0])
    found = _model(name, {words[-1]} if words else set())
    return _Model(found.family, found.version, found.size, profile.precision == "fp8")


def _model(name: str, families: Iterable[str]) -> _Model:
    """Return what a name says, given the families that are known."""
    text = name.lower()
    family = next((each for each in sorted(families, key=len)[::-1] if each in text), "")
    after = text.partition(family)[2] if family else text
    version = re.match(r"[-_ .]?v?(\d+(?:\.\d+)?)(?![\dbx.])", after)
    size = _SIZE.search(after)
    return _Model(family, version[1] if version else "", size[0] if size else "", "fp8" in text)
