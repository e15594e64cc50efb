"""Brings a database to the state the product starts from."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from typing import Any

from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from controller.selectors import schema
from controller.services import database_roles, demo, leadership
from heteroscale_site.accounts import ensure_accounts

ROLES_MODULE = "controller.services.accounts"
SIMULATED = "controller_simulatedfleet"

OWNS = (
    "The role of DATABASE_URL owns its tables: name another owner in HETEROSCALE_OWNER_URL, and "
    "the database keeps it from changing the audit."
)


class Command(BaseCommand):
    """Migrates, makes roles and first accounts, and sets up the demonstration."""

    help = "Migrate, make the first accounts and set up the demonstration; safe to repeat."
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--trace", metavar="FILE", help="trace the demonstration plays")
        parser.add_argument("--trace-scale", type=float, help="how often its requests count")
        parser.add_argument("--speed", type=float, help="how many times faster its load runs")
        parser.add_argument("--prometheus", metavar="URL", help="whom its signals are read from")
        parser.add_argument("--no-demo", action="store_true", help="leave the demonstration out")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Do what is missing."""
        if settings.PRODUCTION:
            _refuse_what_is_for_trying_out(with_demo=not options["no_demo"])
        differed = schema.difference() is not None
        call_command("migrate", interactive=False, verbosity=0)
        if differed:
            # What a worker of the former version has yet to write is void.
            leadership.end_all()
        if settings.APPLICATION_ROLE:
            database_roles.grant(settings.APPLICATION_ROLE)
        else:
            self.stdout.write(OWNS)
        _ensure_roles()
        for line in ensure_accounts():
            self.stdout.write(line)
        if not options["no_demo"] and "demo" in get_commands():
            chosen = {
                name: options[name] for name in ("trace", "trace_scale", "speed", "prometheus")
            }
            call_command("demo", "ensure", **chosen)


def _refuse_what_is_for_trying_out(*, with_demo: bool) -> None:
    if not settings.APPLICATION_ROLE:
        raise CommandError(
            "HETEROSCALE_OWNER_URL: not set, so web server and workers would own their tables "
            "and could change the audit; write the same database with the role that owns them."
        )
    if with_demo or _has_demo():
        raise CommandError(
            "HETEROSCALE_PRODUCTION: there is no simulated fleet in production; add --no-demo, "
            "and where the database has one, take it away with ./heteroscale demo remove first."
        )


def _has_demo() -> bool:
    # Before the first migration there is nothing that could be one.
    return SIMULATED in connection.introspection.table_names() and demo.exists()


def _ensure_roles() -> None:
    if importlib.util.find_spec("controller.services") is None:
        return
    if importlib.util.find_spec(ROLES_MODULE) is not None:
        importlib.import_module(ROLES_MODULE).ensure_roles()
