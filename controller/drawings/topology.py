"""The topology of a cluster: core, leaf groups, racks and nodes in four columns."""

from dataclasses import dataclass

from controller.drawings.state import Key
from controller.drawings.tree import Cluster
from controller.drawings.unfold import Row, View


@dataclass(frozen=True, slots=True)
class Topology:
    """A drawing and its twin table.

    ``svg`` and the swatches of ``legend`` are safe to put on a page as they are. ``summary`` is
    the accessible name of the drawing, ``note`` says where less is drawn than was asked for.
    """

    svg: str
    rows: tuple[Row, ...]
    legend: tuple[Key, ...]
    summary: str
    note: str


def draw(cluster: Cluster, view: View, *, uid: str = "topology") -> Topology:
    """Return the drawing of what ``view`` asks for.

    ``uid`` tells the ids of one drawing on a page from those of another. Never raises for what a
    reader may ask for: a focus that is not there shows the whole cluster.
    """
    raise NotImplementedError
