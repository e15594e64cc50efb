"""Writes the page about settings from their declarations."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from heteroscale_site.configuration import BASE_DIR
from heteroscale_site.documentation import settings_page

PAGE = BASE_DIR / "docs" / "configuration.md"


class Command(BaseCommand):
    """Writes docs/configuration.md."""

    help = "Write docs/configuration.md from the declarations of the settings."
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Write the page."""
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(settings_page())
        self.stdout.write(f"wrote {PAGE}")
