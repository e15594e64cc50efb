"""How long a text may be that the inventory keeps."""

from collections.abc import Mapping
from typing import Final

from inventory.kept import Value, Values

SLUG: Final = 63
LONGEST: Final[Mapping[tuple[str, str], int]] = {
    **{(kind, "slug"): SLUG for kind in ("region", "site", "cluster", "hardware")},
    ("region", "name"): 100,
    ("region", "time_zone"): 63,
    ("fabric", "technology"): 40,
    ("hardware", "vendor"): 60,
    ("hardware", "gpu_model"): 60,
    ("switch", "guid"): 40,
    ("switch", "model"): 100,
    ("node", "serial"): 100,
    ("node", "k8s_uid"): 64,
    ("node", "instance_type"): 100,
    ("node", "driver"): 60,
    ("node", "cuda"): 60,
    ("gpu", "uuid"): 64,
    ("gpu", "serial"): 64,
    ("gpu", "model"): 100,
    ("gpu", "pci_bus_id"): 40,
    ("gpu", "mig"): 6,
    ("nic", "name"): 63,
    ("nic", "guid"): 40,
    ("link", "port"): 63,
    ("link", "peer_port"): 63,
}
CUT: Final[Mapping[str, int]] = {"health_reason": 200, "admin_reason": 1000}
"""Sentences of which the beginning is kept."""
NVLINKS: Final = ("none", "node", "rack")


def cut(values: Values) -> dict[str, Value]:
    """Return values with long sentences cut."""
    return {
        name: value[: CUT[name]] if name in CUT and isinstance(value, str) else value
        for name, value in values.items()
    }


def too_long(kind: str, values: Values) -> tuple[str, str] | None:
    """Return (field, what is wrong) with values that rows can't hold, or ``None``."""
    for name, value in values.items():
        most = LONGEST.get((kind, name))
        if most is not None and isinstance(value, str) and len(value) > most:
            return name, f"it is {len(value)} characters long, at most {most} are kept"
    if kind == "hardware" and values.get("nvlink") not in {None, "", *NVLINKS}:
        return "nvlink", f"'{values['nvlink']}' is none of {', '.join(NVLINKS)}"
    return None
