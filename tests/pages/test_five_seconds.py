"""The first look at the overview answers the five questions of three in the morning."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.pages.reading import words
from tests.services.people import person
from tests.six_states import STATES, make_state

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("state", STATES)
def test_the_top_of_the_overview_answers_an_approver(client: Client, state: str) -> None:
    make_state(state)
    client.force_login(person("ana"))

    page = client.get("/").text
    top = words(page[page.index("<body") : page.index('id="services-title"')])

    answers = STATES[state].texts
    assert [answer for answer in answers if answer not in top] == []
    # No answer of another state stands there as well.
    others = {text for other in STATES.values() for text in other.texts} - {*answers}
    assert [text for text in others if text in top] == []
