"""Runs HeteroScale's commands and puts what stops them into one sentence."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command named on the command line; exit 2 when its surroundings are not there."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")
    try:
        from django.core.management import execute_from_command_line  # noqa: PLC0415
    except ModuleNotFoundError:
        sys.exit(_refuse("this Python has no Django: use ./heteroscale instead of manage.py."))
    from django.db.utils import OperationalError  # noqa: PLC0415
    from redis.exceptions import ConnectionError as BrokerConnectionError  # noqa: PLC0415

    from heteroscale_site.configuration import ConfigurationError  # noqa: PLC0415

    try:
        execute_from_command_line(["heteroscale", *sys.argv[1:]])
    except ConfigurationError as error:
        sys.exit(_refuse(str(error)))
    except OperationalError as error:
        # With an SQLSTATE the server answered, so the fault is in the command and its traceback
        # is wanted; without one there was no server to answer.
        if getattr(error.__cause__, "sqlstate", None) is not None:
            raise
        sys.exit(
            _refuse(
                "PostgreSQL does not answer: start ./heteroscale up in another terminal, or set "
                f"DATABASE_URL. ({str(error).splitlines()[0]})"
            )
        )
    except BrokerConnectionError as error:
        sys.exit(
            _refuse(
                "the broker does not answer: start ./heteroscale up in another terminal, or set "
                f"REDIS_URL. ({error})"
            )
        )


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"heteroscale: {sentence}\n")
    return 2


if __name__ == "__main__":
    main()
