"""How long the KV cache travels from a prefill to a decode instance."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import Floats


@dataclass(frozen=True, slots=True)
class Link:
    """A path between two nodes: what a transfer costs before its first byte, and the rate after.

    ``setup_s`` in seconds, ``bytes_s`` in bytes per second for the whole path.
    """

    setup_s: float
    bytes_s: float


H800_NODES: Final = Link(setup_s=0.37e-3, bytes_s=147e9)
"""Two H800 nodes with 8 RoCE cards each (200 GB/s line rate), vLLM with MooncakeConnector, one
request at a time: fitted to the table in the Mooncake documentation, within 7 % of each row."""


def kv_transfer_s(size_bytes: Floats | float, link: Link) -> Floats:
    """Return how long ``size_bytes`` of KV cache take when nothing else uses the link [s].

    Shape as given. The size is context tokens times KV bytes per token.
    """
    return link.setup_s + np.asarray(size_bytes, dtype=np.float64) / link.bytes_s
