"""Views of the table of nodes: those everybody has, and a person's own."""

from __future__ import annotations

import pytest
from django.test import Client

from controller.models import SavedView
from controller.selectors.saved_views import BUILT_IN
from controller.services.saved_views import MOST
from inventory.models import Node
from tests.factories import NOW, make_cluster, make_hardware, make_nodes
from tests.services.people import person

pytestmark = pytest.mark.django_db

LONG = "&".join(f"s1={'d' * 90}{i}" for i in range(30))


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(person("vic", "Viewer"))
    make_nodes(make_cluster(), make_hardware(), 6)
    return client


def test_the_views_that_everybody_has_show_what_they_say(client: Client) -> None:
    changes = {
        "h800-001": {"health": "failed"},
        "h800-002": {"admin_state": "draining"},
        "h800-003": {"missing_since": NOW},
        "h800-004": {"health": "unknown"},
    }
    for name, change in changes.items():
        Node.objects.filter(name=name).update(**change)
    found = {
        view.name: [
            name for name in changes
            if f">{name}<" in client.get(f"/fleet/?{view.query}").content.decode()
        ]
        for view in BUILT_IN
    }  # fmt: skip
    assert found == {
        "Takes no new instance": list(changes),
        "Unhealthy": ["h800-001", "h800-004"],
        "Cordoned or draining": ["h800-002"],
        "Missing from their source": ["h800-003"],
        # Nobody reports what runs there, so no node is known to be free.
        "Free whole nodes": [],
    }
    text = client.get("/fleet/").content.decode()
    assert all(view.name in text for view in BUILT_IN)


def test_filters_are_kept_renamed_and_removed(client: Client) -> None:
    query = "health=failed&sort=-free&page=3&nonsense=1"
    answer = client.post("/fleet/views/", {"name": " Broken  ones ", "query": query})
    assert answer["Location"] == "/fleet/?health=failed&sort=-free"
    view = SavedView.objects.get()
    assert (view.name, view.query) == ("Broken ones", "health=failed&sort=-free")
    text = client.get("/fleet/?health=failed&sort=-free").content.decode()
    assert 'aria-current="true">Broken ones</a>' in text
    # The same name, in whichever letters, takes the place of the first.
    client.post("/fleet/views/", {"name": "BROKEN ones", "query": "state=draining"})
    assert list(SavedView.objects.values_list("name", "query")) == [
        ("BROKEN ones", "state=draining")
    ]
    client.post("/fleet/views/", {"verb": "rename", "view": view.pk, "name": "Draining"})
    assert SavedView.objects.get().name == "Draining"
    client.post("/fleet/views/", {"verb": "remove", "view": view.pk})
    assert not SavedView.objects.exists()


def test_a_view_is_its_owners_alone(client: Client) -> None:
    view = SavedView.objects.create(user=person("ana"), name="Mine", query="health=failed")
    assert "Mine" not in client.get("/fleet/").content.decode()
    for verb in ("rename", "remove"):
        answer = client.post("/fleet/views/", {"verb": verb, "view": view.pk, "name": "x"})
        assert answer.status_code == 404
    assert SavedView.objects.get().name == "Mine"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": " "}, "Give the view a name."),
        ({"name": "x" * 61}, "A name has at most 60 characters."),
        ({"name": "x", "query": LONG}, "too many"),
        ({"verb": "rename", "view": "", "name": "x"}, None),
        ({"verb": "remove", "view": "9" * 40}, None),
    ],
    ids=str,
)  # fmt: skip
def test_bad_views_are_told(client: Client, fields: dict[str, str], said: str | None) -> None:
    answer = client.post("/fleet/views/", fields, follow=True)
    if said is None:
        assert answer.status_code == 404
    else:
        assert said in answer.content.decode()
    assert not SavedView.objects.exists()


def test_two_views_of_one_name_are_refused(client: Client) -> None:
    for name in ("a", "b"):
        client.post("/fleet/views/", {"name": name, "query": ""})
    pk = SavedView.objects.get(name="b").pk
    answer = client.post("/fleet/views/", {"verb": "rename", "view": pk, "name": "A"}, follow=True)
    assert "You have a view named A already." in answer.content.decode()


def test_views_have_an_end(client: Client) -> None:
    for i in range(MOST):
        client.post("/fleet/views/", {"name": f"v{i}", "query": ""})
    answer = client.post("/fleet/views/", {"name": "more", "query": ""}, follow=True)
    assert f"You keep {MOST} views already" in answer.content.decode()
    assert SavedView.objects.count() == MOST


def test_a_name_is_text(client: Client) -> None:
    client.post("/fleet/views/", {"name": "<b>bold</b>", "query": ""})
    assert "<b>bold</b>" not in client.get("/fleet/").content.decode()
