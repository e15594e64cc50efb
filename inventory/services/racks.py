"""Facts of a rack, and where a node stands: every write with the checks that name a way out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import ValidationError

from inventory.models import Node, Rack, Switch

FACTS: Final = ("row", "column", "u_height", "power_kw", "cooling")
PLACE: Final = ("rack", "u_position", "face")
MANUAL: Final = "manual"


@dataclass(frozen=True, slots=True)
class Filled:
    """Units from ``low`` to ``high`` that something fills, on one face or both."""

    name: str
    low: int
    high: int
    face: str

    @property
    def words(self) -> str:
        """Who it is and where: "gpu-003 on U12–U19"."""
        units = f"U{self.low}" if self.low == self.high else f"U{self.low}–U{self.high}"
        return f"{self.name} on {units}"


def facts_of(rack: Rack) -> dict[str, Any]:
    """Return what a person may change of a rack."""
    return {name: getattr(rack, name) for name in FACTS}


def save_facts(rack: Rack, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Write facts of a locked rack; returns those it replaced, ``None`` when nothing differs.

    What changed counts as set by a person, so that imports leave it. Raises
    :class:`ValidationError` by field.
    """
    before = facts_of(rack)
    changed = [name for name in FACTS if values[name] != before[name]]
    if not changed:
        return None
    for name in changed:
        setattr(rack, name, values[name])
    rack.clean_fields(exclude={field.name for field in Rack._meta.fields} - {*FACTS})  # noqa: SLF001
    _check_height(rack)
    _keep(rack, changed)
    return {name: before[name] for name in changed}


def _check_height(rack: Rack) -> None:
    above = [one for one in filled(rack) if one.high > rack.u_height]
    if above:
        top = max(above, key=lambda one: one.high)
        raise ValidationError(
            {
                "u_height": f"{top.words} would stick out: move it first, or make the rack at "
                f"least {top.high} U high."
            }
        )


def place_of(node: Node) -> dict[str, Any]:
    """Return where a node stands, as the audit keeps it."""
    return {
        "rack": node.rack.name if node.rack else None,
        "u_position": node.u_position,
        "face": node.face,
    }


def place_node(
    node: Node, rack: Rack | None, u_position: int | None, face: str
) -> dict[str, Any] | None:
    """Move a locked node to units of a locked rack; returns where it stood.

    ``None`` when it stands there already. Without a rack it stands in none, without a unit
    somewhere in it. Raises :class:`ValidationError` by field, naming who is in the way and the
    lowest units that are free.
    """
    before = place_of(node)
    if (node.rack, node.u_position, node.face) == (rack, u_position, face):
        return None
    if rack is None and u_position is not None:
        raise ValidationError(
            {"rack": "A unit needs a rack: choose one, or leave the unit empty."}
        )
    if rack is not None and u_position is not None:
        check_place(node, rack, u_position, face)
    changed = [
        name
        for name, value in (("rack", rack), ("u_position", u_position), ("face", face))
        if getattr(node, name) != value
    ]
    node.rack, node.u_position, node.face = rack, u_position, face
    node.clean_fields(exclude={field.name for field in Node._meta.fields} - {*PLACE})  # noqa: SLF001
    _keep(node, changed)
    return before


def check_place(node: Node, rack: Rack, u_position: int, face: str) -> None:
    """Raise :class:`ValidationError` where a node can't stand there, with who is in the way."""
    others = [one for one in filled(rack) if one.name != node.name]
    top = u_position + node.u_height - 1
    free = _lowest_free(rack, node.u_height, face, others)
    way_out = (
        f"the lowest free {node.u_height} U begin at U{free}."
        if free
        else f"{rack.name} has no free {node.u_height} U: choose another rack."
    )
    if top > rack.u_height:
        said = f"It would reach U{top}; {rack.name} ends at U{rack.u_height}: {way_out}"
        raise ValidationError({"u_position": said})
    blocking = [one for one in others if _overlaps(one, u_position, top, face)]
    if blocking:
        who = ", ".join(one.words for one in blocking)
        raise ValidationError({"u_position": f"In the way: {who}; {way_out}"})


def _overlaps(one: Filled, low: int, high: int, face: str) -> bool:
    meets = Node.Face.BOTH in {one.face, face} or one.face == face
    return meets and one.low <= high and low <= one.high


def _lowest_free(rack: Rack, height: int, face: str, others: Iterable[Filled]) -> int | None:
    """Return the lowest unit from which so many are free; ``None`` when there is none."""
    known = tuple(others)
    for low in range(1, rack.u_height - height + 2):
        if not any(_overlaps(one, low, low + height - 1, face) for one in known):
            return low
    return None


def filled(rack: Rack) -> tuple[Filled, ...]:
    """Return what fills which units of a rack; a switch fills one unit on both faces."""
    nodes = Node.objects.filter(rack=rack, u_position__isnull=False)
    switches = Switch.objects.filter(rack=rack, u_position__isnull=False)
    return (
        *(
            Filled(name, low, low + height - 1, face)
            for name, low, height, face in nodes.order_by("u_position").values_list(
                "name", "u_position", "u_height", "face"
            )
            if low is not None
        ),
        *(
            Filled(name, low, low, Node.Face.BOTH)
            for name, low in switches.order_by("u_position").values_list("name", "u_position")
            if low is not None
        ),
    )


def _keep(row: Rack | Node, changed: Iterable[str]) -> None:
    row.managed_fields = {**row.managed_fields, **dict.fromkeys(changed, MANUAL)}
    row.version += 1
    row.save()
