"""Signals, counts and pools of simulated services, read from the engines' model."""

from collections.abc import Sequence

from controller.core.ports import View
from controller.core.types import ServiceSpec
from controller.simulator.engines import OpenEngines


class SimulatorSource:
    """Answers for every service the simulator plays; others are named as unanswered."""

    def __init__(self, open_engines: OpenEngines, *, window_s: float) -> None:
        self._open = open_engines
        self._window_s = window_s

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Advance the engines to ``now_s`` and read them in one go."""
        with self._open(now_s) as engines:
            known = engines.world.keys
            keys = [spec.key for spec in services if spec.key in known]
            observations = engines.world.observe(keys, now_s, self._window_s)
            pools = engines.world.pools(now_s)
        failures = {
            spec.key: "No simulated engines are set up for this service."
            for spec in services
            if spec.key not in known
        }
        return View(observations=observations, pools=pools, failures=failures)
