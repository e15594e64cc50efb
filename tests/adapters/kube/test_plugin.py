"""Programs that print credentials."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.utils import timezone

from controller.adapters.kube import plugin as under_test
from controller.adapters.kube.api import Api, Credentials, ExecPlugin, Res, UnreachableError
from controller.adapters.kube.plugin import Plugin
from tests.adapters.kube.scripted import Scripted, http

if TYPE_CHECKING:
    from pathlib import Path

V1 = "client.authentication.k8s.io/v1"
NODES = Res("v1", "nodes")


def program(path: Path, lines: str, **more: Any) -> ExecPlugin:
    """Return a plugin that runs lines of Python."""
    script = path / "plugin.py"
    script.write_text(f"import json, os, sys, time\n{lines}\n")
    return ExecPlugin(V1, sys.executable, ("-I", str(script)), **more)


def prints(**status: Any) -> str:
    body = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(body)!r})"


def held(plugin: ExecPlugin) -> Plugin:
    return Plugin(plugin, Credentials("https://k", "CA", exec_=plugin))


def soon() -> float:
    return time.monotonic() + 20


def test_it_is_told_little_and_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "ours")
    seen = tmp_path / "seen"
    lines = f"json.dump(dict(os.environ), open({str(seen)!r}, 'w'))\n{prints(token='t')}"

    shown = held(
        program(tmp_path, lines, variables={"AWS_PROFILE": "p"}, tells_cluster=True)
    ).shown(soon())

    told = json.loads(seen.read_text())
    assert shown.token == "t"
    assert json.loads(told.pop("KUBERNETES_EXEC_INFO")) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {"server": "https://k", "certificate-authority-data": "Q0E="},
        },
    }
    assert set(told) - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "AWS_PROFILE", *under_test._KEPT}


def test_what_it_printed_is_kept_until_shortly_before_its_end(tmp_path: Path) -> None:
    end = (timezone.now() + timedelta(minutes=10)).isoformat().replace("+00:00", "Z")
    counted = tmp_path / "runs"
    lines = f"open({str(counted)!r}, 'a').write('x')\n"
    lines += prints(token="t", expirationTimestamp=end)
    plugin = held(program(tmp_path, lines))

    for late in (timedelta(0), timedelta(minutes=9), timedelta(minutes=9, seconds=31)):
        with time_machine.travel(timezone.now() + late, tick=False):
            plugin.shown(soon())

    assert counted.read_text() == "xx"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param("sys.exit('no login\\x07')", "ended with 1: no login", id="fails"),
        pytest.param("print('hello')", "printed no ExecCredential", id="a word"),
        pytest.param("print('[]')", "printed no ExecCredential", id="a list"),
        pytest.param(prints(), "neither a token nor a certificate", id="nothing"),
        pytest.param(prints(clientCertificateData="C"), "neither a token", id="without a key"),
        pytest.param(
            prints(token="t", expirationTimestamp="soon"), "that is no time", id="no time"
        ),
        pytest.param(
            prints(token="t", expirationTimestamp="2026-01-01T00:00:00"), "no time", id="no zone"
        ),
        pytest.param(
            prints(token="t").replace("/v1", "/v1beta1"), "speaks client.auth", id="another API"
        ),
        pytest.param("print('x' * 2_000_000)", "printed more than 1 MiB", id="too much"),
        pytest.param("sys.stderr.write('x' * 2_000_000)", "more than 1 MiB", id="complains much"),
    ],
)
def test_what_it_does_wrong_is_said(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(UnreachableError, match=said) as caught:
        held(program(tmp_path, lines)).shown(soon())

    assert not caught.value.sent
    assert caught.value.text.isprintable()


@pytest.mark.parametrize(
    "lines", ["time.sleep(60)", "os.close(1); os.close(2); time.sleep(60)"], ids=["hangs", "quiet"]
)
def test_one_that_hangs_is_ended_with_the_deadline(tmp_path: Path, lines: str) -> None:
    with pytest.raises(UnreachableError, match="took too long"):
        held(program(tmp_path, lines)).shown(time.monotonic() + 0.3)


def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(UnreachableError, match="The plugin no-such can't be run here: No such"):
        held(ExecPlugin(V1, "no-such")).shown(soon())


def test_a_token_that_is_refused_is_fetched_anew_once(tmp_path: Path) -> None:
    counted = tmp_path / "runs"
    lines = f"path = {str(counted)!r}\nopen(path, 'a').write('x')\nn = len(open(path).read())\n"
    lines += prints(token="token-N").replace("N", "' + str(n) + '")
    server = Scripted([http("401 Unauthorized"), http("200 OK", "{}"), http("200 OK", "{}")])
    api = Api(Credentials(server.url, exec_=program(tmp_path, lines)))
    try:
        for _ in range(2):
            api.read(NODES, "", "n", until=soon())
    finally:
        server.close()

    sent = [line for asked in server.asked for line in asked.splitlines() if "Bearer" in line]
    assert sent == [f"Authorization: Bearer token-{n}" for n in (1, 2, 2)]
