"""Style, types, layers and migrations are held by their tools."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import call_command

from heteroscale_site.configuration import BASE_DIR
from heteroscale_site.management.commands.lint import IMPORT_RULES

PYTHON = sys.executable
ADDRESS = re.compile(r"https?://|file:|--index-url|--extra-index-url|--find-links")


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own tools
        [PYTHON, *words], cwd=BASE_DIR, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("-m", "ruff", "check", "--quiet"), id="style"),
        pytest.param(("-m", "ruff", "format", "--check", "--quiet"), id="formatting"),
        pytest.param(("-c", IMPORT_RULES), id="layers"),
        pytest.param(("-m", "mypy", "--no-error-summary"), id="types"),
    ],
)
def test_the_tool_finds_nothing(words: tuple[str, ...]) -> None:
    said = _run(*words)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration() -> None:
    said = StringIO()
    try:
        call_command("makemigrations", check=True, dry_run=True, stdout=said)
    except SystemExit:
        pytest.fail(said.getvalue())


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_has_a_hash_and_no_address(name: str) -> None:
    text = (BASE_DIR / name).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    pins = re.findall(
        r"^([a-z0-9][a-z0-9._-]*==[^ ]+).*?((?:\n    --hash=\S+.*)+)", code, re.MULTILINE
    )
    named = re.findall(r"^[a-z0-9][a-z0-9._-]*.*$", code, re.MULTILINE)
    assert len(pins) == len(named) > 0
    assert not ADDRESS.search(text)


@pytest.mark.parametrize("name", ["heteroscale", ".ci/run"])
def test_the_shell_scripts_are_valid(name: str) -> None:
    shell = shutil.which("dash") or shutil.which("sh") or "/bin/sh"
    said = subprocess.run(  # noqa: S603 - our own scripts
        [shell, "-n", BASE_DIR / name], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert (BASE_DIR / name).stat().st_mode & 0o111
