"""Looking changes nothing: every address and every link is opened, and no row is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from controller.charts import FIGURES
from controller.views import overview, services
from tests.everything import Everything, make_everything
from tests.services.people import person

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

Keys = dict[str, Any]
NOT_FOUND: Final = 404
SERVER_ERROR: Final = 500
NOWHERE: Final = ("/queue/", "/sign-in/provider/")
"""What is hidden from an approver, and the provider that nobody configured."""
PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")
HREF: Final = re.compile(r"""\shref=["']([^"'#][^"']*)["']""")
CLOSED: Final = frozenset({"admin/", "queue/"})
"""What is Django's and the queue's own, and turns an approver away as a whole."""


def keys_of(route: str, here: Everything, user: User) -> Keys:
    """Return what the parameters of a route may name; a route nobody knows has none."""
    service = {"slug": here.service.slug}
    node = {"cluster": here.node.cluster.slug, "name": here.node.name}
    prefixes: dict[str, Keys] = {
        "services/": service | {"revision": 1, "pk": here.backtest.pk},
        "services/<slug:slug>/metrics/": service | {"name": "decode_tps"},
        "services/<slug:slug>/outside/": service | {"pk": here.outside.pk},
        "actions/": {"pk": here.action.pk},
        "fleet/racks/": {"pk": here.node.rack_id},
        "fleet/switches/": node | {"name": here.switch.name},
        "fleet/nodes/": node,
        "fleet/skus/": {"slug": "h800"},
        "sources/": {"slug": here.source.slug},
        "clusters/": {"slug": here.access.cluster.slug},
        "breakers/": {"pk": here.breaker.pk},
        "approvals/": {"pk": here.proposal.pk},
        "approvals/rules/": {"name": here.rule.name},
        "approvals/moves/": {"pk": here.moves.pk},
        "approvals/suggestions/": {"pk": here.suggestion.pk},
        "decisions/": {"pk": here.decision.pk},
        "imports/": {"pk": here.run.pk, "place": 0},
        "overrides/": {"pk": here.override.pk},
        "backtests/": {"pk": here.backtest.pk},
        "backtests/traces/": {"pk": here.trace.pk},
        "api/v1/imports/": {"pk": here.run.pk},
        "api/v1/backtests/": {"pk": here.backtest.pk},
        "grants/": {"pk": here.grant.pk},
        "me/sessions/": {"handle": "a-session"},
        "people/": {"name": user.username},
        "people/doors/": {"key": here.tries.key},
        "simulator/metrics/": {"name": here.simulated},
    }
    fitting = [prefix for prefix in prefixes if route.startswith(prefix)]
    return prefixes[max(fitting, key=len)] if fitting else {}


def addresses(here: Everything, user: User) -> Iterator[str]:
    """Yield every address of the product, with what it may name filled in."""
    for route in routes(get_resolver()):
        if route == "overview/<slug:panel>/":
            yield from (f"/overview/{name}/" for name in overview.PANELS)
        elif route == "services/<slug:slug>/panel/<slug:panel>/":
            yield from (f"/services/{here.service.slug}/panel/{name}/" for name in services.PANELS)
        elif route == "api/v1/figures/<slug:name>":
            yield from figures(here)
        else:
            keys = keys_of(route, here, user)
            unknown = {*PARAMETER.findall(route)} - keys.keys()
            assert not unknown, f"{route}: say in keys_of what {unknown} may be"
            yield "/" + PARAMETER.sub(partial(_filled, keys), route)


def _filled(keys: Keys, parameter: re.Match[str]) -> str:
    return str(keys[parameter[1]])


def figures(here: Everything) -> Iterator[str]:
    """Yield the address of each figure, with what it needs."""
    of = {"service": here.service.slug, "decision": here.decision.pk, "backtest": here.backtest.pk}
    for name, figure in FIGURES.items():
        yield f"/api/v1/figures/{name}?{urlencode({need: of[need] for need in figure.needs})}"


def routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """Yield the patterns of a resolver and of those inside it, as one text each."""
    for one in resolver.url_patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLPattern) or route in CLOSED:
            yield route
        else:
            yield from routes(one, route)


def written() -> set[str]:
    """Return the tables in which this transaction wrote or removed a row, and how many times.

    Of sessions only what is removed counts: when one was last used is noted while a person looks.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname || ' ' || rows FROM (SELECT relname, n_tup_del + CASE relname"
            " WHEN 'controller_session' THEN 0 ELSE n_tup_ins + n_tup_upd END AS rows"
            " FROM pg_stat_xact_user_tables) found WHERE rows > 0"
        )
        return {name for (name,) in cursor.fetchall()}


class Reader:
    """A person who opens addresses, and what went wrong on the way."""

    def __init__(self, user: User) -> None:
        self.client = Client(raise_request_exception=False)
        self.client.force_login(user)
        self.written = written()
        self.wrong: list[str] = []
        self.opened: set[tuple[str, frozenset[str]]] = set()

    def open(self, address: str) -> set[str]:
        """Open one address unless it was; returns where its links lead."""
        found = urlsplit(address)
        mark = found.path, frozenset(parse_qs(found.query, keep_blank_values=True))
        if mark in self.opened:
            return set()
        self.opened.add(mark)
        response = self.client.get(address)
        body = b"".join(response) if response.streaming else response.content
        if response.status_code >= SERVER_ERROR:
            self.wrong.append(f"{address} answers {response.status_code}")
        if response.status_code == NOT_FOUND and not address.startswith(NOWHERE):
            self.wrong.append(f"{address} leads nowhere")
        if changed := written() - self.written:
            self.wrong.append(f"{address} writes {', '.join(sorted(changed))}")
            self.written |= changed
        if not response.headers["Content-Type"].startswith("text/html"):
            return set()
        links = (unescape(link) for link in HREF.findall(body.decode()))
        return {link for one in links if is_ours(link := urljoin(address, one))}


def is_ours(link: str) -> bool:
    """Return whether a link leads to an address of the product."""
    found = urlsplit(link)
    try:
        return not found.netloc and not found.scheme and bool(resolve(found.path))
    except Resolver404:
        return False


def test_opening_every_address_and_every_link_writes_no_row() -> None:
    user = person("ana")
    here = make_everything(user)
    models = [*apps.get_app_config("inventory").get_models()]
    models += apps.get_app_config("controller").get_models()
    reader = Reader(user)
    assert [one for one in models if not one._default_manager.exists()] == []

    links = set[str]().union(*[reader.open(one) for one in addresses(here, user)])
    for link in sorted(links):
        reader.open(link)

    assert reader.wrong == []
