"""Folders and files are where a newcomer looks for them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from heteroscale_site.configuration import BASE_DIR

VAGUE = re.compile(r"(utils|helpers|common|misc)\.py$")
INLINE = re.compile(r"<style|<script(?![^>]*\bsrc=)(?![^>]*application/json)|\son\w+=|\sstyle=")
LOADED = re.compile(r"<(script|link|img|iframe)\b[^>]*https?://")


def _tracked(pattern: str) -> list[Path]:
    said = subprocess.run(  # noqa: S603
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],  # noqa: S607
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        pytest.skip("not a git checkout")
    return [BASE_DIR / name for name in said.stdout.splitlines() if (BASE_DIR / name).exists()]


def test_no_module_has_a_vague_name() -> None:
    assert not [path for path in _tracked("*.py") if VAGUE.search(path.name)]


def test_pages_hold_no_script_and_no_style_of_their_own() -> None:
    # The content security policy would refuse them, and only a browser would tell.
    found = [
        f"{path.relative_to(BASE_DIR)}: {match.group()}"
        for path in _tracked("templates/*.html")
        for match in [INLINE.search(path.read_text())]
        if match
    ]
    assert not found


def test_pages_load_nothing_from_elsewhere() -> None:
    # Links to other sites are for people to click; what is loaded comes from us.
    assert not [p for p in _tracked("templates/*.html") if LOADED.search(p.read_text())]


def test_no_file_is_large() -> None:
    # Data sets and libraries do not belong into the repository.
    large = [path for path in _tracked("*") if path.stat().st_size > 400_000]
    assert not large
