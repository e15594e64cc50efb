"""Runs the tests."""

from __future__ import annotations

import os
import sys
from typing import Any

from heteroscale_site.configuration import BASE_DIR
from heteroscale_site.tools import ToolCommand


class Command(ToolCommand):
    """Hands over to pytest."""

    help = "Run every test; what follows goes to pytest."

    def run_tool(self, words: list[str]) -> Any:  # noqa: ANN401 - never returns
        """Become pytest, two tests at a time unless told otherwise."""
        chosen = any(word.startswith(("-n", "--numprocesses", "--pdb")) for word in words)
        parallel = [] if chosen or any("::" in word for word in words) else ["-n", "2"]
        os.chdir(BASE_DIR)
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *parallel, *words])  # noqa: S606
