"""The policies by name: one file and one line each."""

from collections.abc import Mapping
from typing import Final

from controller.core.policies.proportional import proportional
from controller.core.ports import Policy

POLICIES: Final[Mapping[str, Policy]] = {
    "proportional": proportional,
}
