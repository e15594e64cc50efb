"""Runs the static type checks."""

from __future__ import annotations

import os
import sys

from heteroscale_site.configuration import BASE_DIR
from heteroscale_site.tools import ToolCommand


class Command(ToolCommand):
    """Hands over to mypy."""

    help = "Check the types; what follows goes to mypy."

    def run_tool(self, words: list[str]) -> None:
        """Become mypy."""
        os.chdir(BASE_DIR)
        os.execv(sys.executable, [sys.executable, "-m", "mypy", *words])  # noqa: S606
