"""Whether the database is of the version of this process (P08).

During an upgrade processes of two versions run beside each other. To one of them the columns mean
something else, so it neither decides nor sends.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Final

from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader

SHOWN: Final = 3
Migration = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Migrations the database lacks, and those of which this version knows nothing."""

    missing: tuple[Migration, ...]
    unknown: tuple[Migration, ...]

    @property
    def sentence(self) -> str:
        """What differs, and what ends it."""
        if self.unknown:
            return (
                f"The database is of a newer version (it has {_named(self.unknown)}): nothing is "
                "done here until this process is restarted with that version."
            )
        return (
            f"The database is of an older version (it lacks {_named(self.missing)}): nothing is "
            "done here until ./heteroscale prepare has run with this version."
        )


def difference() -> Difference | None:
    """Return how the database differs from this version, ``None`` when it doesn't."""
    own, applied = known(), _applied()
    if own == applied:
        return None
    return Difference(tuple(sorted(own - applied)), tuple(sorted(applied - own)))


@cache
def known() -> frozenset[Migration]:
    """Return the migrations of this version, by the names of their files."""
    # Importing them would cost every job of a worker a hundred milliseconds.
    packages = {
        each.label: MigrationLoader.migrations_module(each.label)[0]
        for each in apps.get_app_configs()
    }
    return frozenset(
        (app, module.name)
        for app, package in packages.items()
        if package is not None
        for module in _modules(package)
        if module.name[0] not in "_~"
    )


def _modules(package: str) -> list[pkgutil.ModuleInfo]:
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError:
        return []
    return list(pkgutil.iter_modules(found.__path__))


def _applied() -> frozenset[Migration]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations') IS NOT NULL")
        if cursor.fetchone() == (False,):
            return frozenset()
        # Of a part that is no longer installed the tables may stay.
        cursor.execute(
            "SELECT app, name FROM django_migrations WHERE app = ANY(%s)",
            [sorted({app for app, _ in known()})],
        )
        return frozenset((app, name) for app, name in cursor.fetchall())


def _named(migrations: tuple[Migration, ...]) -> str:
    shown = [f"{app} {name.partition('_')[0]}" for app, name in migrations[-SHOWN:]]
    more = len(migrations) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
