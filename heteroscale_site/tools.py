"""Commands that hand over to a development tool."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class ToolCommand(BaseCommand):
    """Takes its arguments as they are, for a tool that has its own options."""

    requires_system_checks: tuple[str, ...] = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave the arguments unread."""
        self.run_tool(argv[2:])

    def run_tool(self, words: list[str]) -> Any:  # noqa: ANN401 - some never return
        """Run the tool with these words."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Run the tool without words."""
        self.run_tool([])
