"""Reading a page as a person does: its words, without the marks."""

from __future__ import annotations

import re

from django.test import Client


def words(page: str) -> str:
    """Return the text of a page with single spaces."""
    text = re.sub(r"<(script|style|title).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).replace("&#x27;", "'")


def reading(client: Client, path: str) -> str:
    """Return the words of a page that must be there."""
    response = client.get(path)
    assert response.status_code == 200, path
    return words(response.content.decode())
