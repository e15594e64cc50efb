"""The reference pages name everything there is, under its own heading."""

import re
from pathlib import Path

import pytest

from controller.core.guards import GUARDS, STEP_NAMES
from controller.core.kube import rights, values
from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.outlook import Learnt
from controller.core.phrases import STEP_WORDS
from controller.core.policies import POLICIES
from controller.core.policy_fields import FIELDS, GROUPS, Kind, plain_default, plainly
from controller.core.reasons import Code
from controller.core.surprises import margin

DOCS = Path(__file__).parents[2] / "docs"


def headings(page: str) -> set[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return set(re.findall(r"^### (\S+)$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("code", Code)
def test_every_code_is_explained(code: Code) -> None:
    assert code.value in headings("reasons.md")


def test_no_code_is_explained_that_does_not_exist() -> None:
    assert headings("reasons.md") == {code.value for code in Code}


def test_every_policy_and_step_is_explained_and_nothing_else() -> None:
    assert headings("policies.md") == {*POLICIES, *STEP_NAMES}


def test_every_right_in_a_cluster_and_all_that_is_written_there_is_told() -> None:
    text = (DOCS / "clusters.md").read_text(encoding="utf-8")
    used = rights.usual((), Gate.NONE), rights.usual([WorkloadKind.DEPLOYMENT], Gate.READINESS)
    told = [f"`{', '.join(one.verbs)} {one.words}`" for one in rights.wanted(used[0])]
    pods = [one for one in rights.wanted(used[1]) if one.res == rights.PODS]
    told += [f"`{', '.join(one.verbs)} {one.words}`" for one in pods]
    written = (values.EPOCH, values.ACTION, values.WANT, values.SERVING, values.COST)
    told += [f"`{each}`" for each in (*written, values.REGISTERED, values.MANAGER)]
    assert [each for each in told if each not in text] == []


def test_the_words_of_pages_are_those_of_the_docs() -> None:
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    table = text.partition("| step | on pages |")[2].partition("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, flags=re.MULTILINE))
    assert told == {name: word for name, word in STEP_WORDS.items() if word != name}


@pytest.mark.parametrize(
    ("goal", "margin_pct"),
    [pytest.param(0.98, 45), pytest.param(0.99, 58), pytest.param(0.995, 71)],
)
def test_the_margin_of_a_new_service_is_the_one_told(goal: float, margin_pct: int) -> None:
    assert round(100.0 * margin(Learnt(), (1.0 - goal) / 2.0)) == margin_pct
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    assert re.search(rf"{margin_pct} % for (a goal of )?{100 * goal:g} %", text)


def test_guards_carry_the_names_of_their_steps() -> None:
    names = [getattr(guard, "__name__", "") for guard in GUARDS]
    # Overrides speak at two places, under one name.
    told = dict.fromkeys("override" if name in {"pin", "banned"} else name for name in names)
    # The fleet's budget looks at all services at once, after the guards of each.
    assert ("policy", *told, "fleet", "gate") == STEP_NAMES


def documented_fields() -> dict[str, list[str]]:
    """Return default, unit and source of each field in the table of a policy's fields."""
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    table = text.split("\n## Fields\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table, flags=re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def default_told(name: str) -> str:
    value = plain_default(name)
    if FIELDS[name].kind is Kind.MEASURED:
        return "measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return ""
    return "empty" if value == [] else plainly(value)


def test_every_field_of_a_policy_is_documented_in_the_order_of_the_form() -> None:
    assert list(documented_fields()) == [name for group in GROUPS for name in group.names]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_documented_with_its_default_unit_and_source(name: str) -> None:
    default, unit, source = documented_fields()[name]
    assert default == default_told(name)
    # A target is told in its driver's unit, which no field can know.
    assert name == "target" or unit.startswith(FIELDS[name].unit)
    assert re.match(r"(?:[αβγ] in |θ_\w+ in )?§\d|ours$", source)
