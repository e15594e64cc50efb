"""The reference policies by name: one file and one line each."""

from collections.abc import Mapping
from typing import Final

from controller.simulator.references import dynamo, hpa_queue, hpa_util, latency, periodic, static
from controller.simulator.references.port import Reference

REFERENCES: Final[Mapping[str, Reference]] = {
    reference.name: reference
    for reference in (
        static.PEAK,
        static.MEAN,
        hpa_util.REFERENCE,
        hpa_queue.REFERENCE,
        latency.REFERENCE,
        periodic.REFERENCE,
        dynamo.REFERENCE,
    )
}
