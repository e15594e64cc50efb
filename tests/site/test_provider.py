"""Sign-in through an identity provider: a real one is played over HTTP, with real signatures."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from jwt.algorithms import RSAAlgorithm
from pytest_django import Settings

from controller.models import AuditEvent, Freeze, Identity
from controller.services import second_factor
from controller.services.accounts import ensure_roles
from heteroscale_site.configuration import ConfigurationError, load
from heteroscale_site.oidc.provider import _found
from tests.services.test_second_factor import code_of

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BACK = "/sign-in/provider/back/"


@dataclass
class Played:
    """A provider as the tests wish it: what it tells, signs and says of the person."""

    issuer: str = ""
    named: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    key: rsa.RSAPrivateKey = KEY
    status: int = 200
    asked: dict[str, list[str]] = field(default_factory=dict)

    def answer(self, path: str) -> dict[str, Any]:
        """Return what an address answers."""
        if path.startswith("/.well-known/"):
            return {
                "issuer": self.named or self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["none", "RS256"],
            }
        if path == "/keys":
            public = json.loads(RSAAlgorithm.to_jwk(KEY.public_key()))
            return {"keys": [public | {"kid": "one", "alg": "RS256"}]}
        if path == "/token":
            token = jwt.encode(self.claims, self.key, "RS256", headers={"kid": "one"})
            return {"access_token": "a", "id_token": token, "token_type": "Bearer"}
        return self.userinfo


@pytest.fixture
def played(settings: Settings, db: None) -> Iterator[Played]:  # noqa: ARG001 - opens the database
    told = Played()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told.answer(urlsplit(self.path).path)).encode()
            self.send_response(told.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.asked = parse_qs(sent)
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Keep the tests' output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    told.issuer = f"http://127.0.0.1:{server.server_port}"
    settings.OIDC_ISSUER = told.issuer
    settings.OIDC_NAME = "Example ID"
    settings.OIDC_CLIENT_ID = "heteroscale"
    settings.OIDC_CLIENT_SECRET = "a secret"
    settings.OIDC_ROLES = {"sre": "Approver", "watch": "Viewer"}
    _found.cache_clear()
    ensure_roles()
    yield told
    server.shutdown()
    server.server_close()


def sent_away(client: Client, path: str = "/sign-in/provider/") -> dict[str, str]:
    """Return what the browser takes to the provider."""
    answer = client.get(path)
    assert answer.status_code == 302
    query = parse_qs(urlsplit(answer["Location"]).query)
    return {name: values[0] for name, values in query.items()}


def come_back(client: Client, played: Played, **claims: object) -> str:
    """Return where a browser ends that the provider sends back as ana of sre."""
    return str(answered(client, played, sent_away(client), **claims)["Location"])


def answered(
    client: Client, played: Played, taken: dict[str, str], **claims: object
) -> HttpResponse:
    """Return the answer to a browser that comes back with what it took to the provider."""
    now_s = int(timezone.now().timestamp())
    person = {"sub": "u-1", "preferred_username": "ana", "groups": ["sre"]}
    token = {
        "iss": played.issuer,
        "aud": "heteroscale",
        "exp": now_s + 60,
        "iat": now_s,
        "nonce": taken["nonce"],
    }
    played.claims = {k: v for k, v in (token | person | claims).items() if v is not None}
    played.userinfo = played.userinfo or {"sub": "u-1"}
    return client.get(BACK, {"code": "c", "state": taken["state"]})


@pytest.mark.usefixtures("played")
def test_the_way_there_asks_for_a_code_with_a_proof_key() -> None:
    taken = sent_away(Client())
    assert taken["client_id"] == "heteroscale"
    assert taken["response_type"] == "code"
    assert taken["code_challenge_method"] == "S256"
    assert taken["redirect_uri"] == f"http://testserver{BACK}"
    assert len(taken["state"]) >= 32
    assert len(taken["nonce"]) >= 32


def test_who_comes_for_the_first_time_has_an_account_with_the_roles_of_their_groups(
    played: Played,
) -> None:
    client = Client()
    assert come_back(client, played) == "/"
    user = User.objects.get(username="ana")
    assert [group.name for group in user.groups.all()] == ["Approver"]
    assert not user.has_usable_password()
    assert client.get("/services/").status_code == 200
    assert "code_verifier" in played.asked
    verbs = AuditEvent.objects.filter(actor="identity provider").values_list("verb", flat=True)
    assert set(verbs) == {"made an account", "changed roles"}


def test_roles_follow_the_groups_of_today_and_the_name_need_not(played: Played) -> None:
    come_back(Client(), played)
    assert come_back(Client(), played, groups=["watch"], preferred_username="ana.b") == "/"
    user = User.objects.get()
    assert user.username == "ana"
    assert [group.name for group in user.groups.all()] == ["Viewer"]


def test_an_account_is_never_handed_to_who_bears_its_name_at_the_provider(played: Played) -> None:
    User.objects.create_user("ana", password="a long enough phrase")
    assert come_back(Client(), played) == "/sign-in/"
    assert not Identity.objects.exists()


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"iss": "http://127.0.0.1:1"}, id="another issuer"),
        pytest.param({"aud": "another"}, id="made for another product"),
        pytest.param({"aud": ["heteroscale", "another"]}, id="for several, asked by nobody named"),
        pytest.param({"nonce": "another"}, id="of another request"),
        pytest.param({"exp": 1}, id="over since 1970"),
        pytest.param({"exp": None}, id="without an end"),
        pytest.param({"sub": None}, id="of nobody"),
        pytest.param({"groups": ["cooks"]}, id="a group without a role"),
        pytest.param({"groups": None}, id="no group"),
        pytest.param({"groups": [{"sre": 1}, 7]}, id="groups that are none"),
    ],
)
def test_a_token_that_does_not_fit_lets_nobody_in(
    played: Played, claims: dict[str, object]
) -> None:
    client = Client()
    assert come_back(client, played, **claims) == "/sign-in/"
    assert not User.objects.exists()
    assert "did not let you in" in client.get("/sign-in/").text


def test_a_token_signed_by_somebody_else_lets_nobody_in(played: Played) -> None:
    played.key = OTHER_KEY
    assert come_back(Client(), played) == "/sign-in/"
    assert not User.objects.exists()


def test_news_of_somebody_else_lets_nobody_in(played: Played) -> None:
    played.userinfo = {"sub": "u-2", "groups": ["sre"]}
    assert come_back(Client(), played) == "/sign-in/"


def test_an_answer_nobody_asked_for_lets_nobody_in(played: Played) -> None:
    come_back(Client(), played)
    answer = Client().get(BACK, {"code": "c", "state": "made up"})
    assert answer["Location"] == "/sign-in/"


def test_a_disabled_account_stays_outside(played: Played) -> None:
    client = Client()
    come_back(client, played)
    User.objects.update(is_active=False)
    assert client.get("/services/").status_code == 302
    assert come_back(Client(), played) == "/sign-in/"


@pytest.mark.parametrize("wrong", ["named", "status"])
def test_a_provider_that_is_away_or_another_is_told_on_the_sign_in_page(
    played: Played, wrong: str
) -> None:
    if wrong == "named":
        played.named = "https://id.example.org"
    else:
        played.status = 500
    client = Client()
    assert client.get("/sign-in/provider/")["Location"] == "/sign-in/"
    assert "identity provider does not" in client.get("/sign-in/").text


def test_passwords_go_on_while_the_provider_is_away(played: Played) -> None:
    played.status = 500
    User.objects.create_user("bob", password="a long enough phrase")
    answer = Client().post("/sign-in/", {"username": "bob", "password": "a long enough phrase"})
    assert answer["Location"] == "/"


def test_without_a_provider_there_is_no_such_way(db: None) -> None:  # noqa: ARG001 - opens it
    assert Client().get("/sign-in/provider/").status_code == 404
    assert Client().get(BACK).status_code == 404


def test_the_sign_in_page_has_a_way_to_the_provider(played: Played) -> None:
    page = Client().get("/sign-in/?next=/decisions/").text
    assert 'href="/sign-in/provider/?next=%2Fdecisions%2F">Sign in with Example ID<' in page
    client = Client()
    taken = sent_away(client, "/sign-in/provider/?next=/decisions/")
    assert answered(client, played, taken)["Location"] == "/decisions/"
    stray = Client()
    taken = sent_away(stray, "/sign-in/provider/?next=https://evil.example/")
    assert answered(stray, played, taken)["Location"] == "/"


def kept_in(page: str) -> str:
    found = re.search(r'name="kept" value="([^"]+)"', page)
    assert found
    return html.unescape(found[1])


def taken_along(client: Client, path: str, page: str) -> dict[str, str]:
    """Return what the browser takes there that goes on from the form of a page."""
    going = client.post(path, {"kept": kept_in(page), "next": "/"})
    assert going.status_code == 200
    query = parse_qs(urlsplit(going["Refresh"].partition("url=")[2]).query)
    return {name: values[0] for name, values in query.items()}


def test_a_form_whose_session_ended_is_kept_over_the_way_to_the_provider_a05(
    played: Played,
) -> None:
    client = Client()
    page = client.post("/freeze/", {"reason": "it burns"}).text
    back = answered(client, played, taken_along(client, "/sign-in/provider/", page))
    assert "You are signed in as ana now." in back.text
    assert 'name="reason" value="it burns"' in back.text
    assert not Freeze.objects.exists()


@pytest.fixture
def stale(played: Played, settings: Settings) -> Iterator[Client]:
    """Ana of the provider, who froze the fleet and whose proof is older than FRESH_S since."""
    client = Client()
    come_back(client, played)
    client.post("/freeze/", {"reason": "incident"})
    later = timezone.now().timestamp() + settings.FRESH_S + 1
    with time_machine.travel(later, tick=False):
        yield client


FRESH = "/sign-in/provider/?fresh=1"


def test_who_has_no_password_proves_it_to_the_provider_and_the_form_is_kept(
    stale: Client, played: Played
) -> None:
    asked = stale.post("/resume/?scope=fleet", {"reason": "it is over"})
    assert asked.status_code == 403
    assert "Confirm with Example ID" in asked.text
    assert "password" not in re.findall(r'type="(\w+)"', asked.text)
    taken = taken_along(stale, FRESH, asked.text)
    assert (taken["prompt"], taken["max_age"]) == ("login", "0")

    now_s = int(timezone.now().timestamp())
    back = answered(stale, played, taken, auth_time=now_s)
    assert "You have just proved who you are." in back.text
    assert 'name="reason" value="it is over"' in back.text
    assert Freeze.objects.filter(ended_at=None).exists()
    assert stale.post("/resume/?scope=fleet", {"reason": "it is over"}).status_code == 302


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        pytest.param({"auth_time": -61}, "did not ask you again", id="61 s before it was asked"),
        pytest.param({}, "does not say when it did (auth_time)", id="no time"),
        pytest.param(
            {"auth_time": 0, "sub": "u-2", "preferred_username": "bob"},
            "vouches for bob, and you are signed in as ana: nothing was proved",
            id="another person",
        ),
    ],
)
def test_a_proof_that_is_none_of_now_and_of_this_person_is_refused_in_words(
    stale: Client, played: Played, claims: dict[str, Any], said: str
) -> None:
    asked = stale.post("/resume/?scope=fleet", {"reason": "it is over"})
    taken = taken_along(stale, FRESH, asked.text)
    told = dict(claims)
    if "auth_time" in told:
        told["auth_time"] += int(timezone.now().timestamp())
    played.userinfo = {"sub": told.get("sub", "u-1")}
    back = answered(stale, played, taken, **told)
    assert back.status_code == 403
    assert said in html.unescape(back.text)
    assert kept_in(back.text)
    assert stale.get("/me/").context["user"].username == "ana"
    assert stale.post("/resume/?scope=fleet", {"reason": "x"}).status_code == 403


def test_giving_up_at_the_provider_ends_no_session(stale: Client) -> None:
    taken = sent_away(stale, FRESH)
    back = stale.get(BACK, {"error": "access_denied", "state": taken["state"]})
    assert "did not confirm that it is you" in back.text
    assert stale.get("/me/").status_code == 200


def test_a_session_of_the_provider_from_yesterday_is_no_fresh_proof(played: Played) -> None:
    for told in ({"auth_time": int(timezone.now().timestamp()) - 86_400}, {}):
        client = Client()
        come_back(client, played, **told)
        assert client.post("/resume/?scope=fleet", {"reason": "x"}).status_code == 403
    now = Client()
    come_back(now, played, auth_time=int(timezone.now().timestamp()))
    assert now.post("/resume/?scope=fleet", {"reason": "x"}).status_code != 403


def test_who_has_an_authenticator_gives_its_code_after_the_provider(
    played: Played, settings: Settings
) -> None:
    settings.SECOND_FACTOR = "approvers"
    come_back(Client(), played)
    ana = User.objects.get()
    second_factor.start(ana)
    codes = second_factor.confirm(ana, code_of(ana))
    client = Client()
    half = answered(client, played, sent_away(client))
    assert "Code of your authenticator" in half.text
    assert client.get("/services/").status_code == 302
    assert client.post("/sign-in/code/", {"code": codes[0]})["Location"] == "/"
    assert client.get("/services/").status_code == 200

    asked = client.post("/freeze/", {"reason": "x"})
    assert asked.status_code == 302
    asked = client.post("/resume/?scope=fleet", {"reason": "over"})
    taken = taken_along(client, FRESH, asked.text)
    back = answered(client, played, taken, auth_time=int(timezone.now().timestamp()))
    assert "Code of your authenticator" in back.text
    given = {"code": codes[1], "kept": kept_in(back.text)}
    assert "You have just proved" in client.post("/sign-in/confirm/", given).text
    assert client.post("/resume/?scope=fleet", {"reason": "over"}).status_code == 302


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"HETEROSCALE_OIDC_ISSUER": "http://id.example.org"}, "begin with https://"),
        ({"HETEROSCALE_OIDC_ISSUER": "id.example.org"}, "write the issuer's address"),
        ({"HETEROSCALE_OIDC_ISSUER": "https://id.example.org"}, "HETEROSCALE_OIDC_CLIENT_ID"),
        ({"HETEROSCALE_OIDC_ROLES": "sre"}, "write group=Role"),
    ],
)
def test_half_a_configuration_is_refused_by_name(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(given)
