"""The page about placement is true: its example is answered as told, every field is named."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from controller.core.placement.limiting import NO_ROOM
from controller.core.reasons import Code
from controller.management import place_file
from controller.models import Rearrangement

PAGE = (Path(__file__).parents[2] / "docs" / "placement.md").read_text(encoding="utf-8")
READ = re.compile(r'\b(?:a_\w+|an_object|one_of|get)\(\s*\w+,\s*"(\w+)"')
HARDWARE = [{"type": "H800", "gpus_per_instance": 1}]
PARTS = {"attention": {"hardware": HARDWARE}, "ffn": {"hardware": HARDWARE}}


def section(title: str) -> str:
    """Return what stands under a heading, up to the next of its rank or above."""
    rank = title.partition(" ")[0]
    return re.split(rf"\n#{{2,{len(rank)}}} ", PAGE.split(f"\n{title}\n")[1])[0]


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def answered(tmp_path: Path, plain: object) -> dict[str, Any]:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(plain))
    said = StringIO()
    call_command("place", str(path), stdout=said)
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def fields(plain: object, *, are_names: bool = True) -> Iterator[str]:
    """Yield the fields of a document; what stands by the name of a service or node has none."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            if are_names:
                yield key
            yield from fields(value, are_names=key not in {"candidates", "nodes"})
    elif isinstance(plain, list):
        for one in plain:
            yield from fields(one)


def test_the_example_is_answered_as_told(tmp_path: Path) -> None:
    examples = section("## One cycle from a file")
    asked, told = re.findall(r"```json\n(.*?)```", examples, re.DOTALL)
    found, expected = answered(tmp_path, json.loads(asked)), json.loads(told)
    assert found.pop("wall_ms") > 0.0
    assert expected.pop("wall_ms") > 0.0
    assert found == expected


def everything(tmp_path: Path) -> dict[str, Any]:
    """Return an answer in which every list has something."""
    held = [{"role": "decode", "node": "n1", "gpus": 1, "instance": "old"}]
    return answered(
        tmp_path,
        {
            "nodes": [{"name": "n1", "hardware": "H800", "gpus": 8, "gpus_free": 3}],
            "services": [
                {
                    "name": "moe",
                    "roles": {"prefill": {"parts": PARTS}, "decode": {"hardware": HARDWARE}},
                },
                {
                    "name": "chat",
                    "roles": {"decode": {"hardware": HARDWARE}},
                    "groups": [{"name": "chat-g1", "bindings": held}],
                },
            ],
            "requests": [
                {"service": "moe", "prefill": 2, "decode": 2},
                {"service": "chat", "decode": -1},
            ],
        },
    )


def test_every_field_of_the_answer_is_named(tmp_path: Path) -> None:
    answer = everything(tmp_path)
    assert all(answer.values()), "every list has something"
    found = set(fields(answer))
    assert {"part", "why", "would_fit_if", "lost"} <= found
    assert found - named(section("## One cycle from a file")) == set()


def test_every_field_that_is_read_is_named() -> None:
    read = set(READ.findall(inspect.getsource(place_file)))
    assert {"gpus_free", "nodes_per_instance", "bindings", "refused"} <= read
    assert read - named(section("## One cycle from a file")) == set()


@pytest.mark.parametrize("kind", Rearrangement.Kind)
def test_every_kind_of_moves_has_a_row(kind: Rearrangement.Kind) -> None:
    assert f"\n| `{kind.value}` | " in section("## Moves")


@pytest.mark.parametrize("code", sorted(NO_ROOM))
def test_every_refusal_has_a_row(code: Code) -> None:
    assert f"\n| `{code.value}` | " in section("## Refusals")
