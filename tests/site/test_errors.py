"""Pages that could not be made say why, without a stack trace."""

import pytest
from django.db import OperationalError
from django.test import Client

from controller.views import sign_in


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        pytest.param(OperationalError("gone"), 503, "database does not answer", id="no database"),
        pytest.param(ZeroDivisionError(), 500, "failed on our side", id="a fault of our own"),
    ],
)
def test_a_fault_is_a_readable_page(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, words: str
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise fault

    monkeypatch.setattr(sign_in.SignIn, "get", fail)
    answer = Client(raise_request_exception=False).get("/sign-in/")
    assert answer.status_code == status
    text = answer.content.decode()
    assert words in text
    assert "Traceback" not in text
    assert answer.has_header("Retry-After") is (status == 503)
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
