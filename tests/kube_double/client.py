"""Raw requests: what the double does is looked at without a client library in between."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.kube import Double

DEPLOYMENTS = "/apis/apps/v1/namespaces/prod/deployments"
DECODE = f"{DEPLOYMENTS}/chat-decode"
NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/prod/pods"
WITHIN_S = 10.0


@dataclass
class Client:
    """A session with one double."""

    kube: Double
    token: str = ""
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        # What the environment says of authorities and proxies is not meant for this server.
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {self.token or self.kube.token}"
        self.session.headers["User-Agent"] = "raw/1"

    def ask(self, method: str, path: str, body: object = None, **more: Any) -> requests.Response:
        """Send a request; ``content`` is its type, all else are parameters of the query."""
        headers = {"Content-Type": more.pop("content", "application/json")}
        return self.session.request(
            method,
            f"{self.kube.address}{path}",
            params={name: str(text) for name, text in more.items()},
            data=None if body is None else json.dumps(body),
            headers=headers,
            timeout=WITHIN_S,
        )

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.ask("GET", path, **query)

    def patch(self, path: str, body: object, **query: Any) -> requests.Response:
        """Send a merge patch."""
        return self.ask("PATCH", path, body, content="application/merge-patch+json", **query)

    def apply(self, path: str, body: object, manager: str, **query: Any) -> requests.Response:
        """Send a server-side apply."""
        content = "application/apply-patch+yaml"
        return self.ask("PATCH", path, body, content=content, fieldManager=manager, **query)

    def watch(self, path: str, **query: Any) -> Iterator[Mapping[str, Any]]:
        """Begin a watch; its events until it ends."""
        asked = {"watch": "1", "timeoutSeconds": "5", **query}
        answer = self.session.get(
            f"{self.kube.address}{path}", params=asked, stream=True, timeout=WITHIN_S
        )
        assert answer.status_code == 200, answer.text
        return (json.loads(line) for line in answer.iter_lines())


def told(events: Iterator[Mapping[str, Any]], number: int) -> list[tuple[str, str]]:
    """Return type and name of the next events."""
    found = [next(events) for _ in range(number)]
    return [(each["type"], each["object"]["metadata"].get("name", "")) for each in found]
