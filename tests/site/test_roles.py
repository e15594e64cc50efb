"""What serves connects as a role that owns nothing; commands connect as the owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from heteroscale_site.configuration import load
from heteroscale_site.connections import application_role, database
from heteroscale_site.home import Home
from heteroscale_site.launch.product import background_programs, web_program

KEY = "k" * 50
APPLICATION = "postgres://app:a@db/scale"
OWNER = "postgres://owner:o@db/scale"


@pytest.mark.parametrize(
    ("given", "web", "worker", "command", "granted"),
    [
        pytest.param(
            {}, "heteroscale_app", "heteroscale_app", "heteroscale", "heteroscale_app", id="wheel"
        ),
        pytest.param(
            {"DATABASE_URL": APPLICATION, "HETEROSCALE_OWNER_URL": OWNER},
            *("app", "app", "owner", "app"),
            id="two roles of one's own",
        ),
        pytest.param(
            {"DATABASE_URL": APPLICATION}, "app", "app", "app", "", id="one role, nothing granted"
        ),
    ],
)
def test_each_kind_of_process_has_its_role(
    given: dict[str, str], web: str, worker: str, command: str, granted: str
) -> None:
    found = {}
    for role in ("web", "worker", "command"):
        configuration = load({"SECRET_KEY": KEY, "HETEROSCALE_PROCESS": role, **given})
        found[role] = database(configuration, Home(Path("/nowhere")))["USER"]
        assert application_role(configuration) == granted
    assert found == {"web": web, "worker": worker, "command": command}


def test_what_serves_is_not_told_the_owners_password() -> None:
    home = Home(Path("/nowhere"))
    web = web_program(home, host="127.0.0.1", port=1, known_as="localhost")
    for program in (web, *background_programs(home, Path("manage.py"))):
        assert program.environment["HETEROSCALE_OWNER_URL"] == ""
