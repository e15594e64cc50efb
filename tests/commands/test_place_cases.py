"""The command ``place --cases``: what it answers, how it is graded, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

CASE: dict[str, Any] = {
    "id": "pair",
    "kind": "place",
    "levels": ["s1", "node"],
    "nodes": [
        {"id": "n1", "at": {"s1": "left"}, "free": {"gpu": 8}},
        {"id": "n2", "at": {"s1": "right"}, "free": {"gpu": 4}},
    ],
    "request": {
        "name": "pd",
        "require": "s1",
        "children": [
            {"name": "prefill", "pods": 1, "each": {"gpu": 4}},
            {"name": "decode", "pods": 2, "each": {"gpu": 2}},
        ],
    },
}


def kept(tmp_path: Path, plain: object) -> str:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(plain))
    return str(path)


def answers(*words: str) -> dict[str, Any]:
    said = StringIO()
    call_command("place", "--cases", *words, stdout=said, stderr=StringIO())
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def with_(case: dict[str, Any], **changed: object) -> dict[str, Any]:
    return {**case, **changed}


def test_a_case_is_answered_under_its_id(tmp_path: Path) -> None:
    assert answers(kept(tmp_path, [CASE])) == {
        "pair": {"placement": {"prefill": {"n1": 1}, "decode": {"n1": 2}}, "best": True}
    }


def test_an_object_with_the_cases_and_standard_input_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = TextIOWrapper(BytesIO(json.dumps({"cases": [CASE]}).encode()))
    monkeypatch.setattr(sys, "stdin", given)
    assert list(answers("-")) == ["pair"]


def test_a_refusal_says_why_and_what_would_help(tmp_path: Path) -> None:
    parts = [{"name": "decode", "pods": 3, "each": {"gpu": 4}, "require": "s1"}]
    case = with_(CASE, request=parts[0])
    assert answers(kept(tmp_path, [case]))["pair"]["refused"] == {
        "code": "no_fit",
        "sentence": "decode: 2 of 3 pods fit in one s1.",
        "part": "decode",
        "fit": 2,
        "of": 3,
        "unit": "pod",
        "nodes_seen": 2,
        "excluded": {},
        "would_fit_if": "there is room for 1 more pod of decode (4 gpu each) in left,"
        " or it need not be in one s1",
        "proved": True,
    }


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param({"levels": ["s1"]}, "cases[0].levels", id="levels end with node"),
        pytest.param({"kind": "move"}, "cases[0].kind", id="a kind there isn't"),
        pytest.param({"nodes": [{}]}, "cases[0].nodes[0].id", id="a node without a name"),
        pytest.param(
            {"request": {"name": "a", "pods": -1}}, "cases[0].request.pods", id="pods below 0"
        ),
        pytest.param(
            {"request": {"name": "a", "pods": 1, "each": {"gpu": 0.5}}},
            "cases[0].request.each.gpu",
            id="half a GPU",
        ),
        pytest.param(
            {"request": {"name": "a", "children": []}},
            "cases[0].request.children",
            id="a group of nothing",
        ),
    ],
)
def test_a_document_that_can_t_be_read_names_the_place(
    tmp_path: Path, change: dict[str, Any], where: str
) -> None:
    name = kept(tmp_path, [with_(CASE, **change)])
    said = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("place", "--cases", name, "--json", stdout=said)
    assert left.value.code == 2
    assert json.loads(said.getvalue())["error"]["where"] == where
    with pytest.raises(CommandError, match="cases") as told:
        call_command("place", "--cases", name, stdout=StringIO())
    assert told.value.returncode == 2


def test_the_example_of_the_docs_is_placed(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "placement.md").read_text(encoding="utf-8")
    cases = text.partition("\n## Placement cases")[2]
    example = cases.partition("```json")[2].partition("```")[0]
    placement = answers(kept(tmp_path, json.loads(example)))["pair"]["placement"]
    assert placement == {"prefill": {"n1": 1}, "decode": {"n1": 2}}


def test_an_id_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="'pair' is the id of two cases"):
        call_command("place", "--cases", kept(tmp_path, [CASE, CASE]), stdout=StringIO())


def test_an_id_without_an_encoding_is_answered_as_it_came(tmp_path: Path) -> None:
    out = BytesIO()
    text = TextIOWrapper(out, encoding="utf-8")
    case = with_(CASE, id="half a pair \ud83d")
    call_command("place", "--cases", kept(tmp_path, [case]), stdout=text)
    text.flush()
    assert list(json.loads(out.getvalue())) == ["half a pair \ud83d"]


def test_a_file_that_isn_t_there_or_isn_t_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"nowhere\.json"):
        call_command("place", "--cases", "nowhere.json", stdout=StringIO())
    (tmp_path / "half.json").write_text('[{"id":')
    with pytest.raises(CommandError, match=r"half\.json"):
        call_command("place", "--cases", str(tmp_path / "half.json"), stdout=StringIO())


def test_cases_of_other_schedulers_get_full_marks(shared: Path, tmp_path: Path) -> None:
    grader = shared / "data" / "placement" / "check.py"
    if not grader.is_file():
        pytest.skip(f"{grader} is not there")
    asked = subprocess.run(  # noqa: S603 - the grader of the shared data
        [sys.executable, str(grader), "--questions"], capture_output=True, check=True
    )
    questions = tmp_path / "questions.json"
    questions.write_bytes(asked.stdout)
    given = tmp_path / "answers.json"
    given.write_text(json.dumps(answers(str(questions))))
    graded = subprocess.run(  # noqa: S603 - the grader of the shared data
        [sys.executable, str(grader), str(given), "-v"], capture_output=True, check=False
    )
    lines = graded.stdout.decode().splitlines()
    assert graded.returncode == 0, lines
    marks = {words[0]: words[1::2] for line in lines if " of " in line for words in [line.split()]}
    assert len(marks) >= 7
    assert {name: got for name, (got, most) in marks.items() if got != most} == {}
