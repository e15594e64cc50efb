"""The start script installs what is pinned, once, and says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heteroscale_site.configuration import BASE_DIR

INSTALLING = "installing requirements.txt into .venv"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project that pins nothing and whose only command repeats its arguments."""
    shutil.copy(BASE_DIR / "heteroscale", tmp_path)
    (tmp_path / "manage.py").write_text("import sys\nprint(sys.argv[1:])\n")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text("# nothing\n")
    return tmp_path


def _begin(checkout: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own script
        ["/bin/sh", checkout / "heteroscale", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(checkout: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    process = _begin(checkout, *words, **environment)
    said, complained = process.communicate(timeout=120)
    return process.returncode, said, complained


def test_pins_are_installed_when_they_change_and_only_then(checkout: Path) -> None:
    together = [_begin(checkout, "echo", "a b") for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in together]
    assert [process.returncode for process in together] == [0, 0]
    assert {said for said, _ in answers} == {"['echo', 'a b']\n"}
    # The second waits for the first and finds everything there.
    assert sorted(INSTALLING in complained for _, complained in answers) == [False, True]

    assert _run(checkout, "again") == (0, "['again']\n", "")

    (checkout / "requirements.txt").write_text("# nothing, said otherwise\n")
    assert INSTALLING in _run(checkout, "changed")[2]

    # As if the installation had been interrupted: the stamp is what is written last.
    (checkout / ".venv" / "installed-requirements.txt").unlink()
    assert INSTALLING in _run(checkout, "interrupted")[2]

    status, said, complained = _run(checkout, "test", "-k", "x")
    assert (status, said) == (0, "['test', '-k', 'x']\n")
    assert "installing requirements-dev.txt" in complained


def test_what_is_half_made_is_made_anew_and_what_failed_is_not_taken_for_done(
    checkout: Path,
) -> None:
    half = checkout / ".venv" / "bin"
    half.mkdir(parents=True)
    (half / "python").symlink_to("/nowhere/python")
    assert _run(checkout, "x")[:2] == (0, "['x']\n")

    (checkout / "requirements.txt").write_text("./no-such-directory\n")
    status, said, complained = _run(checkout, "x")
    assert status != 0
    assert said == ""
    assert "heteroscale: installing requirements.txt failed" in complained
    assert not (checkout / ".venv" / "installed-requirements.txt").exists()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(None, id="no Python at all"),
        pytest.param("exit 1", id="a Python that is too old"),
    ],
)
def test_a_missing_python_is_named(checkout: Path, script: str | None) -> None:
    tools = _tools(checkout)
    if script is not None:
        _script(tools / "python3", script)
    status, _, complained = _run(checkout, "x", PATH=str(tools))
    assert status == 1
    assert "Python 3.11 or newer is needed and none was found" in complained


def test_a_missing_venv_module_is_named(checkout: Path) -> None:
    tools = _tools(checkout)
    # Debian's python3 without python3-venv: everything works but ensurepip.
    _script(
        tools / "python3",
        f'case "$*" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"',
    )
    status, _, complained = _run(checkout, "x", PATH=str(tools))
    assert status == 1
    assert "apt install python3-venv" in complained


def _tools(checkout: Path) -> Path:
    """A PATH without any Python."""
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("dirname", "cmp", "touch", "rm", "cp", "mv"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    return tools


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
