"""Runs the checks of style and of the order of layers."""

from __future__ import annotations

import subprocess
import sys

from heteroscale_site.configuration import BASE_DIR
from heteroscale_site.tools import ToolCommand

# import-linter has a console script and no module to run; scripts name the interpreter they were
# installed with and break when the project is moved.
IMPORT_RULES = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"


class Command(ToolCommand):
    """Runs ruff and the import rules."""

    help = "Check style, formatting and the order of layers."

    def run_tool(self, words: list[str]) -> None:
        """Run each check and fail when one did."""
        checks = (
            ("-m", "ruff", "check", *words),
            ("-m", "ruff", "format", "--check", *words),
            ("-c", IMPORT_RULES),
        )
        statuses = [
            subprocess.run([sys.executable, *check], cwd=BASE_DIR, check=False).returncode  # noqa: S603
            for check in checks
        ]
        sys.exit(max(statuses))
