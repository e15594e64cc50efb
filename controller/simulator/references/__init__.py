"""The reference policies by name: one file and one line each."""

from collections.abc import Mapping
from typing import Final

from controller.simulator.references.port import Reference

REFERENCES: Final[Mapping[str, Reference]] = {}
