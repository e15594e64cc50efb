"""The project answers."""

from __future__ import annotations

from django.test import Client


def test_healthz_answers(client: Client) -> None:
    assert client.get("/healthz").status_code == 200
