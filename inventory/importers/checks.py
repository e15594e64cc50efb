"""What a name, a text, a label or a number from a file must be like, and the words if it isn't."""

import re
from dataclasses import fields
from typing import Final, get_args

from inventory.importers.found import FoundHardware, FoundNic, FoundRegion, Thing

MAX_GPUS: Final = 72
"""Most GPUs of one node."""
NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
_LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z"
)
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")
# What a spreadsheet would run when the value is exported to one (safety, row 22).
_FORMULA: Final = re.compile(r"[=+@\t\r\0]|-(?!\d)")
MAX_LEAVES: Final = 64
_NAMED: Final = frozenset(
    (
        *("slug", "name", "region", "cluster", "fabric", "rack", "hardware", "tiers"),
        *("nvlink_domain", "node", "switch", "peer", "parent"),
    )
)
# An adapter is called like its port, a region as people call it.
_FREE_NAMES: Final = (FoundNic, FoundRegion)
_RANGES: Final = {
    "u_position": (1, 60),
    "u_height": (1, 60),
    "tier": (0, 7),
    "rail": (0, 63),
    "rail_count": (0, 64),
    "index": (0, MAX_GPUS - 1),
    "gpus": (0, MAX_GPUS),
    "gpus_per_node": (0, MAX_GPUS),
    "gpus_allocatable": (0, MAX_GPUS),
    "count": (1, 1024),
}
_DIGITS: Final = re.compile(r"([0-9a-f]{12}|[0-9a-f]{16})\Z")
_UNWANTED: Final = re.compile(r"[\x00-\x1f\x7f]")


def name_problem(value: str) -> str | None:
    """Return what is wrong with a name, or ``None``."""
    if NAME.match(value):
        return None
    return (
        f"{shown(value)} is no name: use at most 253 letters, digits, '.', '_' and '-', with a "
        "letter or digit at both ends"
    )


TAINT_MOST: Final = 400


def text_problem(value: str, most: int = 200) -> str | None:
    """Return what is wrong with free text, or ``None``: formulas, control characters, length."""
    if _FORMULA.match(value):
        return f"{shown(value)} looks like a spreadsheet formula"
    if _UNWANTED.search(value):
        return f"{shown(value)} holds control characters"
    if len(value) > most:
        return f"it is {len(value):,} characters long, at most {most} are kept"
    return None


def leaves_problem(count: int) -> str | None:
    """Return what is wrong with the number of leaves of a node, or ``None``."""
    if count <= MAX_LEAVES:
        return None
    return f"{count:,} leaves, a node hangs on {MAX_LEAVES} at most"


def label_problem(key: str, value: str) -> str | None:
    """Return what is wrong with a label as Kubernetes would see it, or ``None``."""
    if not _LABEL_KEY.match(key):
        return f"{shown(key)} is no label key"
    if not _LABEL_VALUE.match(value):
        return f"{shown(value)} is no label value: use at most 63 letters, digits, '.', '_', '-'"
    return None


def gpus_problem(count: int) -> str | None:
    """Return what is wrong with the number of GPUs of a node, or ``None``."""
    if 0 <= count <= MAX_GPUS:
        return None
    return f"a node has 0 to {MAX_GPUS} GPUs, not {count:,}"


def thing_problem(thing: Thing) -> tuple[str, str] | None:
    """Return (field, what is wrong) with a thing as a whole, or ``None``.

    Importers say more precisely what is wrong with what people write; nothing passes this.
    """
    for field, is_name in _CHECKED[type(thing)]:
        value = getattr(thing, field)
        if value is None or value == "":
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if problem := _problem(field, item, is_name=is_name):
                return field, problem
    return None


def _checked_fields(kind: type[Thing]) -> tuple[tuple[str, bool], ...]:
    """Return the fields to look at, and whether each is a name.

    Labels are checked as pairs, and places are the product's own words.
    """
    free = kind in _FREE_NAMES
    return tuple(
        (one.name, one.name in _NAMED and not (free and one.name == "name"))
        for one in fields(kind)
        if one.name not in {"at", "clears", "labels"}
    )


_CHECKED: Final = {kind: _checked_fields(kind) for kind in get_args(Thing)}


def _problem(field: str, value: object, *, is_name: bool) -> str | None:
    if isinstance(value, str):
        return name_problem(value) if is_name else text_problem(value, 253)
    return _number_problem(field, value) if isinstance(value, int) else None


def _number_problem(field: str, value: int) -> str | None:
    low, high = _RANGES.get(field, (0, 1_000_000_000))
    return None if low <= value <= high else f"{value:,} is not from {low} to {high:,}"


def bare_guid(value: str) -> str:
    """Return a GUID or MAC as digits alone, whichever of the usual ways it was written in.

    ``S-2c5eab0300b87b40``, ``0x2c5eab0300b87b40`` and ``2c5e:ab03:00b8:7b40`` are the same.
    Anything else stays as it is.
    """
    digits = re.sub(r"\A([shr]-|0x)|[:.]", "", value.strip().lower())
    return digits if _DIGITS.match(digits) else value


def shown(value: str) -> str:
    """Return a value from a file fit for a sentence: quoted, cut, without control characters."""
    clean = _UNWANTED.sub("�", value)
    return f"'{clean[:60]}…'" if len(clean) > 60 else f"'{clean}'"  # noqa: PLR2004


def hardware_of(
    product: str, gpus: int | None, *, memory_mib: int | None = None, at: str = ""
) -> FoundHardware:
    """Return the hardware type of a GPU's product name, as every tool that prints it means it.

    ``NVIDIA H100 80GB HBM3``, ``NVIDIA-H100-80GB-HBM3`` and its slices ``…-MIG-1g.10gb`` or
    shares ``…-SHARED`` are all ``h100-80gb-hbm3-8`` with eight to a node.
    """
    model = re.sub(r"(-MIG-.*|-SHARED)\Z", "", re.sub(r"\s+", "-", product.strip()))
    short = re.sub(r"(?i)\A(nvidia|amd)-", "", model) or model
    slug = re.sub(r"[^a-z0-9]+", "-", short.lower()).strip("-") or "gpu"
    vendor = re.match(r"(?i)(nvidia|amd)-", model)
    return FoundHardware(
        slug=(slug if gpus is None else f"{slug}-{gpus}")[:63],
        gpu_model=short,
        gpus_per_node=gpus,
        gpu_memory_mib=memory_mib,
        vendor=vendor[1] if vendor else None,
        aliases=(product.strip(),),
        at=at,
    )
