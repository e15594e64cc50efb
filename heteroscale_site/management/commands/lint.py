"""Runs the checks of style and of the order of layers."""

from __future__ import annotations

import subprocess
import sys

from heteroscale_site.configuration import BASE_DIR
from heteroscale_site.tools import ToolCommand


class Command(ToolCommand):
    """Runs ruff and the import rules."""

    help = "Check style, formatting and the order of layers."

    def run_tool(self, words: list[str]) -> None:
        """Run each check and fail when one did."""
        checks = (
            ("ruff", "check", *words),
            ("ruff", "format", "--check", *words),
            ("importlinter.cli", "lint"),
        )
        failed = [
            check[0]
            for check in checks
            if subprocess.run([sys.executable, "-m", *check], cwd=BASE_DIR, check=False).returncode  # noqa: S603
        ]
        sys.exit(1 if failed else 0)
