"""Instances of services whose cluster nobody asks, counted where their metrics are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from controller.core.readings.choosing import UP
from controller.core.readings.recipe import Leaf
from controller.core.readings.tables import Answer, Leaves, Table
from controller.core.types import (
    ROLE_INDEX,
    ROLES,
    Counts,
    Role,
    RoleState,
    ServiceState,
    Window,
)

UNVERSIONED: Final = ""
"""There is no object that holds desired counts, so nothing to compare and set."""


def expected_of(
    states: Sequence[ServiceState | None], leaves: Leaves, shape: tuple[int, int]
) -> Counts:
    """Return the instances of each role that should report, shape ``(S, 2, T)``.

    Those the cluster says serve; where it says nothing, the exporters that are known, and where
    none are, the most that report any figure.
    """
    expected = np.zeros((shape[0], len(ROLES), shape[1]), dtype=np.int64)
    for role in ROLES:
        known = _most(_counts(leaves, role), shape)
        heard = _most([each for leaf, each in leaves.items() if leaf.role is role], shape)
        expected[:, ROLE_INDEX[role]] = np.where(known > 0, known, heard)
    for row, state in enumerate(states):
        if state is not None:
            for role in ROLES:
                expected[row, ROLE_INDEX[role]] = state.of(role).ready
    return expected


def _most(answers: Sequence[Answer], shape: tuple[int, int]) -> Counts:
    most: Counts = np.zeros(shape, dtype=np.int64)
    for each in answers:
        most = np.maximum(most, each.reporting)
    return most


def counted_state(leaves: Leaves, window: Window, row: int) -> ServiceState | None:
    """Return the counts of the service in a row by what is known of its exporters.

    Where a role has none that are known, those that report anything are counted. ``None`` without
    an instance of either role.
    """
    roles = {role: _role_state(leaves, window, row, role) for role in ROLES}
    if not any(state.desired for state in roles.values()):
        return None
    return ServiceState(roles[Role.PREFILL], roles[Role.DECODE], UNVERSIONED)


def _role_state(leaves: Leaves, window: Window, row: int, role: Role) -> RoleState:
    known, alive = 0, 0
    for table in _counts(leaves, role):
        at = _newest(table, row)
        if at is not None:
            known = max(known, int(table.reporting[row, at]))
            alive = max(alive, int(np.nan_to_num(table.values[row, at])))
    if not known:
        heard = window.reporting[ROLE_INDEX[role]]
        known = alive = int(heard.max(initial=0))
    return RoleState(desired=known, ready=min(alive, known))


def _newest(table: Table, row: int) -> int | None:
    there = np.flatnonzero(table.present[row])
    return int(there[-1]) if there.size else None


def _counts(leaves: Leaves, role: Role) -> list[Table]:
    names = UP[role].names
    return [
        answer
        for leaf, answer in leaves.items()
        if isinstance(answer, Table)
        and isinstance(leaf, Leaf)
        and leaf.names == names
        and leaf.role is role
    ]
