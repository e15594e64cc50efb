"""The reference pages name everything there is, under its own heading."""

import re
from pathlib import Path

import pytest

from controller.core.guards import GUARDS, STEP_NAMES
from controller.core.policies import POLICIES
from controller.core.reasons import Code

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


def test_guards_carry_the_names_of_their_steps() -> None:
    names = tuple(getattr(guard, "__name__", "") for guard in GUARDS)
    # The fleet's budget looks at all services at once, after the guards of each.
    assert ("policy", *names, "fleet", "gate") == STEP_NAMES
