"""Kill -9 at requests and commits of a soft scale-in (P01): nobody stays out without an owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from controller.core.kube.kinds import Gate
from controller.core.lifecycle import ActionState
from tests import killing
from tests.loop.test_soft_in_cluster import InCluster, planned

pytestmark = pytest.mark.django_db(transaction=True)
SOME = 30
"""Of all points one in so many: all of them take minutes."""


@contextmanager
def begun(slug: str) -> Iterator[tuple[InCluster, set[str]]]:
    """Give a service that serves, of which two decode instances are planned away."""
    scene = InCluster("deployment", Gate.READINESS, slug)
    try:
        scene.register()
        yield scene, planned(scene)
    finally:
        scene.close()


def withdraw(_: InCluster) -> None:
    """Take out who goes."""


def let_return(scene: InCluster) -> None:
    """Let TTFT suffer once they are out."""
    scene.run()
    scene.kube.settle()
    scene.look(ttft_s={"value": 1.3})


def points_after(name: str, before: Callable[[InCluster], None]) -> list[str]:
    with begun(f"points-{name}") as (scene, _):
        before(scene)
        return killing.points(scene.run)


def finished(scene: InCluster) -> ActionState:
    """Look again until the action has ended, as ticks and sweeps would."""
    state = scene.run()
    for _ in range(3):
        if state == ActionState.WITHDRAWN and not scene.row.soft["back"]:
            scene.kube.settle()
            scene.pass_s(361)
            scene.look()
        state = scene.run()
    scene.kube.settle()
    scene.pass_s(361)
    scene.run()
    scene.kube.settle()
    return state


@pytest.mark.parametrize("first", [7])
def test_whoever_is_killed_while_taking_out_the_planned_ones_go(first: int) -> None:
    points = points_after(f"out-{first}", withdraw)
    for at in range(first, len(points), SOME):
        with begun(f"out-{first}-{at}") as (scene, leaving):
            everybody = scene.pods
            killing.killed_at(at, scene.run)
            assert finished(scene) == ActionState.APPLIED, points[at]
            assert scene.pods == everybody - leaving, points[at]
            assert scene.row.is_out is False, points[at]


@pytest.mark.parametrize("first", [7])
def test_whoever_is_killed_while_they_return_everybody_serves(first: int) -> None:
    points = points_after(f"back-{first}", let_return)
    for at in range(first, len(points), SOME):
        with begun(f"back-{first}-{at}") as (scene, _):
            everybody = scene.pods
            let_return(scene)
            killing.killed_at(at, scene.run)
            assert finished(scene) == ActionState.CANCELLED, points[at]
            assert scene.serving == everybody, points[at]
            assert scene.row.is_out is False, points[at]
