"""The page about backtests names every option, policy, parameter and column there is."""

import re
from pathlib import Path
from typing import Final

import pytest

from controller.api.backtests import SERIES, UNITS
from controller.core.backtest_states import State
from controller.management.commands.backtest import Command
from controller.management.loads import GENERATOR_FIELDS
from controller.selectors.backtest_scores import COLUMNS
from controller.services.accounts import ROLES
from controller.services.backtests import MOST_QUEUED, MOST_QUEUED_EACH
from controller.services.traces import MOST_EACH
from controller.simulator.backtest.contestants import PARAMETERS, POLICY_NAMES
from controller.simulator.backtest.plan import MOST_CONTESTANTS
from controller.urls import urlpatterns
from controller.views.backtest_form import BacktestForm

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = (DOCS / "backtests.md").read_text(encoding="utf-8")


def part(title: str) -> str:
    """Return what stands under a heading."""
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def names(text: str) -> set[str]:
    """Return the first cells of all tables, taken apart."""
    cells = re.findall(r"^\| ([^|]*) \|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def options() -> set[str]:
    """Return the options of the command that are not those of every command."""
    parser = Command().create_parser("heteroscale", "backtest")
    common = {"--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback",
              "--no-color", "--force-color", "--skip-checks"}  # fmt: skip
    return {
        name for action in parser._actions for name in action.option_strings if name[:2] == "--"
    } - common


def test_every_option_of_the_command_is_there_and_no_other() -> None:
    assert {name for name in names(part("The command")) if name[:2] == "--"} == options()


def test_every_key_of_a_generated_load_is_there() -> None:
    assert set(GENERATOR_FIELDS) <= names(part("The command"))


def test_every_policy_is_there_and_no_other() -> None:
    assert names(part("Policies")) == set(POLICY_NAMES)


def test_form_and_command_take_the_same_number_of_policies() -> None:
    assert f"1 to {MOST_CONTESTANTS} in all" in part("The form")
    assert f"may be given up to {MOST_CONTESTANTS} times" in part("The command")


def test_the_most_a_person_may_leave_behind_is_there() -> None:
    told = part("From the queue to the answer")
    assert f"At most {MOST_QUEUED_EACH} of one person and {MOST_QUEUED} in all wait." in told
    assert f"{MOST_EACH} traces of one person are kept" in told


def test_every_role_that_may_start_one_is_there() -> None:
    may = {role for role, rights in ROLES.items() if "controller.run_backtest" in rights}
    told = part("From the queue to the answer").rpartition("need the role ")[2].split(";")[0]
    assert set(re.split(r",\s+|\s+or\s+", told)) == may


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_of_ours_is_there(name: str) -> None:
    assert f"`{name}`" in part("Policies")


def test_every_csv_column_is_there_with_its_unit_and_no_other() -> None:
    units = {"policy": "", "t": "s", "load": "requests/s", "clairvoyant bound": "GPUs"}
    units |= {column.name: column.unit for column in COLUMNS}
    units |= {name: UNITS[name] for name in SERIES}
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*?) ?\| ", part("CSV"), flags=re.MULTILINE)
    told = {name: unit for cell, unit in rows for name in re.findall(r"`([^`]+)`", cell)}
    assert told == units


def test_every_state_is_there_and_no_other() -> None:
    cells = re.findall(r"^\| (\w+) \|", part("From the queue to the answer"), flags=re.MULTILINE)
    assert cells == ["state", *(state.value for state in State)]


def test_every_field_of_the_form_is_there() -> None:
    told = part("The form")
    fields = BacktestForm.base_fields.values()
    labels = [str(field.label).split(" [")[0] for field in fields if field.label is not None]
    assert [
        label for label in labels if label.removeprefix("or ").lower() not in told.lower()
    ] == [
        "Engines of decode"  # "Engines of prefill, of decode"
    ]


@pytest.mark.parametrize("page", ["backtests.md", "http.md"])
def test_every_address_for_machines_is_there(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8").replace("ID", "<id>").replace("/N/", "/<n>/")
    routes = [
        re.sub(r"<(uuid|str):pk>", "<id>", str(found.pattern)).replace("<int:pk>", "<n>")
        for found in urlpatterns
        if "backtest" in str(found.pattern)
        and ("api/" in str(found.pattern) or ".csv" in str(found.pattern))
    ]
    assert [route for route in routes if f"`/{route}`" not in text] == []


def test_links_lead_to_pages_and_headings_that_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        name, _, anchor = target.partition("#")
        text = (DOCS / (name or "backtests.md")).read_text(encoding="utf-8")
        titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in slugs, target
