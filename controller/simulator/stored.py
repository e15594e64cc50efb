"""A stored world: a header in JSON and plain arrays, nothing executable."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict
from zipfile import BadZipFile

import numpy as np

from controller.core.types import SIGNALS, Counts, Floats
from controller.simulator.fleet import FleetState
from controller.simulator.meters import Beginnings
from controller.simulator.sampling import Sample


class ServiceStamp(TypedDict):
    """What must be the same for a service's state to be taken over."""

    workload: str
    base_load_s: float
    base_run_s: float
    fault: str


class Header(TypedDict):
    """The part of a stored world that isn't arrays."""

    run_s: int
    offset_s: float
    speed: float
    recorded: int
    sampled: int
    services: dict[str, ServiceStamp]
    order: list[str]
    fleet: FleetState
    meters: NotRequired[Beginnings]


def unpacked(blob: bytes) -> tuple[Header, dict[str, Floats]]:
    """Return header and arrays of a stored world. Raises ``ValueError`` for what is none."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            arrays: dict[str, Floats] = dict(archive)
        header: Header = json.loads(arrays.pop("header").tobytes())
    except (BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{len(blob)} bytes that are no stored world: {error}") from error
    return header, arrays


def samples_as_arrays(samples: Sequence[Sample]) -> dict[str, Floats]:
    """Return samples as arrays, the samples along the first axis."""
    if not samples:
        return {}
    return {
        "samples/at_s": np.array([s.at_s for s in samples]),
        "samples/values": np.stack([s.values for s in samples]),
        "samples/present": np.stack([s.present for s in samples]).astype(np.float64),
        "samples/reporting": np.stack([s.reporting for s in samples]).astype(np.float64),
        "samples/expected": np.stack([s.expected for s in samples]).astype(np.float64),
        "samples/held": np.stack([s.held for s in samples]).astype(np.float64),
    }


def samples_from_arrays(
    arrays: Mapping[str, Floats], rows: tuple[int, list[int], list[int]]
) -> list[Sample]:
    """Return the stored samples for the services there are now; new ones have none."""
    if "samples/at_s" not in arrays:
        return []
    count, new, old = rows
    found = []
    for at, at_s in enumerate(arrays["samples/at_s"].tolist()):
        values = np.full((count, len(SIGNALS)), np.nan)
        present = np.zeros((count, len(SIGNALS)), dtype=np.bool_)
        reporting: Counts = np.zeros((count, 2), dtype=np.int64)
        expected: Counts = np.zeros((count, 2), dtype=np.int64)
        held = np.zeros(count, dtype=np.bool_)
        values[new] = arrays["samples/values"][at, old]
        present[new] = arrays["samples/present"][at, old] > 0
        reporting[new] = arrays["samples/reporting"][at, old].astype(np.int64)
        expected[new] = arrays["samples/expected"][at, old].astype(np.int64)
        held[new] = arrays["samples/held"][at, old] > 0
        found.append(Sample(at_s, values, present, reporting, expected, held))
    return found
