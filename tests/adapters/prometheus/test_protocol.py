"""What may come back instead of an answer: bounded, told in words, no secret in any of them."""

from __future__ import annotations

import gzip
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from urllib.parse import parse_qs

import numpy as np
import pytest

from controller.adapters.http import Tls
from controller.adapters.metrics.prometheus.client import Endpoint, Login
from controller.adapters.metrics.prometheus.filling import number
from controller.adapters.metrics.prometheus.reader import read
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Reading, Scope, Wanted
from controller.core.readings.attach import ByLabels
from controller.core.readings.recipe import Kind, Leaf
from controller.core.readings.tables import Buckets, Table
from controller.core.types import Role
from tests.adapters.prometheus.certificates import authority, certificate

LEAF = Leaf(("running",), Kind.GAUGE, Role.DECODE)
BUCKETS = Leaf(("ttft_bucket",), Kind.BUCKETS, Role.PREFILL)
NOW_S = 1_700_000_000.0
TOKEN = "s3cr3t-t0ken"
EMPTY = {"status": "success", "data": {"resultType": "matrix", "result": []}}
WANTED = Wanted({LEAF: ByLabels()}, Scope(["chat"], 60), Grid(NOW_S, 15, 2))


def _reply(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""])
    return head.encode() + body


def as_json(told: object, status: str = "200 OK", **headers: str) -> bytes:
    return _reply(json.dumps(told).encode(), status, Content_Type="application/json", **headers)


def _series(leaf: int, *points: object, **labels: str) -> dict[str, object]:
    metric = {"heteroscale_leaf": str(leaf), "service": "chat", **labels}
    return {"metric": metric, "values": list(points)}


def _success(*series: object, **further: object) -> bytes:
    return as_json({**EMPTY, "data": {"resultType": "matrix", "result": list(series)}, **further})


Said = bytes | None | Callable[[Mapping[str, list[str]]], bytes]


class Server:
    """A socket that answers each request with what it was given, the last again and again."""

    def __init__(
        self, answers: tuple[Said, ...], tls: ssl.SSLContext | None, *, drips: bool
    ) -> None:
        """Listen on a free port; an answer of None never comes, one that drips never ends."""
        self._answers, self._tls, self._over = list(answers), tls, Event()
        self._drips = drips
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.asked: list[tuple[str, Mapping[str, list[str]]]] = []
        scheme = "https" if tls else "http"
        self.base = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                line, _ = self._listening.accept()
                if self._tls:
                    line = self._tls.wrap_socket(line, server_side=True)
            except OSError:
                continue
            Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as said:
            head = "".join(iter(lambda: said.readline().decode(), "\r\n"))
            length = int(head.lower().split("content-length:")[1].split()[0])
            form = parse_qs(said.read(length).decode())
            self.asked.append((head, form))
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if callable(answer):
                answer = answer(form)
            if answer is None:
                self._over.wait(10)
            else:
                line.sendall(answer)
                with suppress(OSError):
                    while self._drips and not self._over.wait(0.05):
                        line.sendall(b" ")


@contextmanager
def serving(
    *answers: Said, tls: ssl.SSLContext | None = None, drips: bool = False
) -> Iterator[Server]:
    server = Server(answers, tls, drips=drips)
    try:
        yield server
    finally:
        server.close()


def _turn(within_s: float, waits: list[float]) -> Turn:
    return Turn(NOW_S, time.monotonic() + within_s, np.random.default_rng(0), waits.append)


def _read(server: Server, login: Login | None = None, within_s: float = 10.0) -> Reading:
    endpoint = Endpoint("test", server.base, login or Login(token=TOKEN), most=2**20)
    return read(endpoint, WANTED, _turn(within_s, []))


ERROR = {"status": "error", "errorType": "timeout", "error": f"query by {TOKEN}\n timed out"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            _reply(b"<!doctype html><form>", Content_Type="text/html"), "a page", id="login page"
        ),
        pytest.param(_reply(b"{"), "not JSON", id="broken JSON"),
        pytest.param(_reply(b'{"status": "\xff"}'), "not JSON", id="invalid UTF-8"),
        pytest.param(_reply(b"[" * 100_000), "not JSON", id="deep JSON"),
        pytest.param(as_json({"status": "success"}), "none of Prometheus's", id="another service"),
        pytest.param(as_json([1]), "not JSON|none of", id="a list"),
        pytest.param(_reply(b"x" * 2**21), "too large", id="2 MiB where 1 is allowed"),
        pytest.param(
            _reply(gzip.compress(b" " * 2**27), Content_Encoding="gzip"),
            "too large",
            id="gzip bomb of 128 MiB in 130 kB",
        ),
        pytest.param(_reply(b"no", Content_Encoding="gzip"), "packed", id="broken gzip"),
        pytest.param(
            _reply(b"", "302 Found", Location="https://evil.example/"), "redirects", id="redirect"
        ),
        pytest.param(_reply(TOKEN.encode(), "401 No"), "not accept the credentials", id="401"),
        pytest.param(_reply(b"", "405 No"), "as POST", id="405"),
        pytest.param(_reply(b"", "500 No"), "status 500", id="500"),
        pytest.param(
            as_json(ERROR, "503 No"), "It says: query by …  timed out", id="503 with a text"
        ),
        pytest.param(as_json(ERROR, "422 No"), "running: It says: query by …", id="422, M17"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "reached", id="cut off"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "can't be reached", id="no HTTP"),
    ],
)
def test_what_is_no_answer_is_said_in_a_sentence_m16_m17(answer: bytes, said: str) -> None:
    with serving(answer) as server:
        reading = _read(server)
    assert reading.leaves == {}
    assert len(reading.told) == 1
    assert re.search(said, reading.told[0])
    assert TOKEN not in repr(reading)


BUSY = _reply(b"", "429 Slow", Retry_After="2")


@pytest.mark.parametrize(
    ("answers", "waited_s", "works"),
    [
        pytest.param((BUSY, _success()), (2.1, 2.4), True, id="429, 2 s asked for"),
        pytest.param((_reply(b"", "503 No"), _success()), (0.1, 0.4), True, id="503"),
        pytest.param((b"", _success()), (0.1, 0.4), True, id="hung up on"),
        pytest.param((BUSY, BUSY, _success()), (2.1, 2.4), False, id="429 twice: not a third"),
        pytest.param(
            (_reply(b"", "429 No", Retry_After="60"),), None, False, id="60 s is too long"
        ),
        pytest.param(
            (_reply(b"", "429 No", Retry_After="9" * 99),), (0.1, 0.4), False, id="99 digits"
        ),
    ],
)
def test_busy_or_unreachable_is_asked_once_more_with_jitter_m01_m17(
    answers: tuple[bytes, ...],
    waited_s: tuple[float, float] | None,
    *,
    works: bool,
) -> None:
    waits: list[float] = []
    with serving(*answers) as server:
        reading = read(Endpoint("test", server.base), WANTED, _turn(10, waits))
    assert (LEAF in reading.leaves) is works
    assert len(server.asked) == (1 if waited_s is None else 2)
    assert len(waits) == len(server.asked) - 1
    assert all(waited_s and waited_s[0] <= wait < waited_s[1] for wait in waits)


def test_nobody_listening_is_told_m01() -> None:
    with serving(None) as server:
        pass
    assert _read(server).told == ("It can't be reached.",)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"])
def test_what_drips_is_left_when_the_turn_ends_m02(begun: bytes) -> None:
    begin_s = time.monotonic()
    with serving(begun, drips=True) as server:
        told = _read(server, within_s=0.5)
    assert (told.leaves, len(told.told)) == ({}, 1)
    assert time.monotonic() - begin_s < 2


@pytest.mark.parametrize(
    ("told", "partial", "said"),
    [
        ({"warnings": ["store down"]}, True, ("store down",)),
        ({"warnings": [f"no {TOKEN}"], "isPartial": True}, True, ("no …",)),
        ({"isPartial": True}, True, ("Some of its stores did not answer.",)),
        ({"infos": ["may be no counter"]}, False, ("may be no counter",)),
        (
            {"warnings": ["PromQL info: may be no counter"]},
            False,
            ("PromQL info: may be no counter",),
        ),
        ({"warnings": ["x" * 9999] * 99}, True, ("x" * 199 + "…",)),
        ({"warnings": None, "infos": 3}, False, ()),
    ],
)
def test_what_is_told_beside_an_answer_is_passed_on_m17(
    told: dict[str, object],
    *,
    partial: bool,
    said: tuple[str, ...],
) -> None:
    with serving(_success(**told)) as server:
        reading = _read(server)
    assert (bool(reading.partial), reading.told) == (partial, said)


def _aligned(form: Mapping[str, list[str]]) -> list[int]:
    """The times that Mimir's frontend, and Thanos's, ask for where they align queries to steps."""
    step_s = int(form["step"][0])
    start, end = (int(float(form[name][0])) // step_s * step_s for name in ("start", "end"))
    return list(range(start, end + 1, step_s))


@pytest.mark.parametrize("late_s", [0, 1, 7, 14])
def test_a_frontend_that_aligns_times_fills_the_same_samples(late_s: int) -> None:
    now_s = NOW_S // 15 * 15 + late_s
    grid = Grid(now_s, 15, 4)
    wanted = Wanted({LEAF: ByLabels(), BUCKETS: ByLabels()}, Scope(["chat"], 60), grid)

    def answer(form: Mapping[str, list[str]]) -> bytes:
        times = _aligned(form)
        if "(service,le)" in form["query"][0]:
            return _success(_series(0, *([at, "2"] for at in times), le="+Inf"))
        points = [[at, str(at - 3)] for at in times]
        return _success(*(_series(at, *points) for at in range(6)))

    with serving(answer) as server:
        leaves = read(Endpoint("test", server.base), wanted, _turn(10, [])).leaves
    gauge, buckets = leaves[LEAF], leaves[BUCKETS]
    first = (now_s - 45) // 15 * 15
    assert gauge.at_s.tolist() == [[first - 3 + 15 * at for at in range(4)]]
    assert isinstance(buckets, Buckets)
    assert buckets.rates[0, 0].tolist() == pytest.approx([np.nan] * 3 + [2], nan_ok=True)


@pytest.mark.parametrize(
    ("answer", "partial", "said"),
    [
        pytest.param(
            as_json(
                {
                    "status": "success",
                    "data": {"resultType": "matrix", "result": [], "analysis": {}},
                    "warnings": ['fetch series for {r="a"} from 10.0.0.7:10901: rpc error'],
                }
            ),
            True,
            'fetch series for {r="a"} from 10.0.0.7:10901: rpc error',
            id="Thanos: a store is down",
        ),
        pytest.param(
            as_json(
                {"status": "error", "errorType": "execution", "error": "expand series set: x"},
                "422 Unprocessable Entity",
            ),
            False,
            "running: It says: expand series set: x",
            id="Thanos: a query fails",
        ),
        pytest.param(
            _reply(b"no org id", "401 Unauthorized", Content_Type="text/plain"),
            False,
            "It does not accept the credentials, or wants a tenant.",
            id="Mimir: no tenant",
        ),
        pytest.param(
            as_json(
                {
                    "status": "error",
                    "errorType": "execution",
                    "error": "the query exceeded the maximum number of chunks (limit: 2000000"
                    " chunks) (err-mimir-max-chunks-per-query).",
                },
                "422 Unprocessable Entity",
            ),
            False,
            "running: It says: the query exceeded the maximum number of chunks (limit: 2000000"
            " chunks) (err-mimir-max-chunks-per-query).",
            id="Mimir: a limit",
        ),
        pytest.param(
            as_json(
                {
                    "status": "error",
                    "errorType": "too_many_requests",
                    "error": "too many outstanding requests",
                },
                "429 Too Many Requests",
            ),
            False,
            "It says: too many outstanding requests",
            id="Mimir: too many",
        ),
        pytest.param(
            _success(isPartial=True, stats={"seriesFetched": "8"}),
            True,
            "Some of its stores did not answer.",
            id="VictoriaMetrics: a node is down",
        ),
        pytest.param(
            as_json(
                {
                    "status": "error",
                    "errorType": "422",
                    "error": 'error when executing query="sum(x{a=\\"(\\"})" on the time range'
                    " (start=1, end=2, step=3): cannot execute query: invalid regexp",
                },
                "422 Unprocessable Entity",
            ),
            False,
            "running: It says: invalid regexp",
            id="VictoriaMetrics: the whole query is repeated",
        ),
    ],
)
def test_other_servers_are_understood(answer: bytes, *, partial: bool, said: str) -> None:
    with serving(answer) as server:
        reading = _read(server)
    assert (bool(reading.partial), set(reading.told)) == (partial, {said})


def test_a_clock_that_is_not_ours_is_told_m08() -> None:
    # NOW_S is 22:13:20 of that day.
    answer = as_json(EMPTY, Date="Tue, 14 Nov 2023 22:23:20 GMT")
    with serving(answer) as server:
        assert _read(server).told == ("Its clock is 600 s ahead of ours.",)


@pytest.mark.parametrize(
    "text", ["NaN", "", " 1", "0x10", "1_000", "infinity", "nan", "١", None, 7, [], {}, "1e"]
)
def test_what_prometheus_would_not_write_is_no_number_m06(text: object) -> None:
    assert np.isnan(number(text))


@pytest.mark.parametrize(
    ("text", "want"), [("1e999", np.inf), ("-Inf", -np.inf), ("-0", 0), ("1e-320", 1e-320)]
)
def test_what_it_would_write_is_taken_as_it_is_m05_m06(text: str, want: float) -> None:
    assert number(text) == want


def test_no_number_is_a_value_and_what_has_another_form_is_none_m06_m16() -> None:
    strange: list[object] = [
        _series(0, [NOW_S - 15, "0x10"], [NOW_S, None]),
        _series(1, [NOW_S - 15, str(NOW_S - 16)], [NOW_S, str(NOW_S - 2)]),
        _series(2, [NOW_S - 15, "NaN"], [NOW_S, "2"], [NOW_S + 15, "8"], [NOW_S - 999, "8"]),
        _series(0, [1e308, "5"], [-1e308, "5"], ["x", "5"], [NOW_S], 3, [2**70, "5"]),
        *(_series(at, [NOW_S, "5"]) for at in (3, 99999)),
        _series(0, [NOW_S, "5"], service="another"),
        *({"metric": labels, "values": [[NOW_S, "5"]]} for labels in ({}, [], {"service": []})),
        {"metric": {"heteroscale_leaf": "0", "service": "chat"}, "histograms": []},
        None,
        "x",
    ]
    with serving(_success(*strange)) as server:
        table = _read(server).leaves[LEAF]
    assert isinstance(table, Table)
    assert np.isnan(table.values).all()
    assert table.at_s.tolist() == [[NOW_S - 16, NOW_S - 2]]
    assert table.reporting.tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("first", "apart"),
    [
        pytest.param(_success(), False, id="no instance is scraped twice"),
        pytest.param(_success(_series(0, [NOW_S, "3"])), True, id="three are, M12"),
        pytest.param(_success(warnings=["store down"]), True, id="nobody knows of all"),
        pytest.param(as_json(ERROR, "422 No"), True, id="refused"),
        pytest.param(as_json(ERROR, "500 No"), True, id="failed"),
    ],
)
def test_buckets_are_told_apart_unless_all_are_known_to_be_scraped_once(
    first: bytes, *, apart: bool
) -> None:
    wanted = Wanted({BUCKETS: ByLabels()}, Scope(["chat"], 60), Grid(NOW_S, 15, 4))

    def answer(form: Mapping[str, list[str]]) -> bytes:
        return first if form["query"][0].startswith("label_replace(count(") else _success()

    with serving(answer) as server:
        read(Endpoint("test", server.base), wanted, _turn(10, []))
    forms = [form for _, form in server.asked]
    buckets = [form for form in forms if "sum by (service,le)" in form["query"][0]]
    assert ["max by" in form["query"][0] for form in buckets] == [apart]
    # A rate over 60 s of now begins before the newer half of 60 s does.
    assert [form["start"] for form in buckets] == [["1700000000.000"]]


def test_bounds_are_joined_by_number_and_not_endless_m16() -> None:
    wanted = Wanted({BUCKETS: ByLabels()}, Scope(["chat"], 60), Grid(NOW_S, 15, 1))
    bounds = ("1", "1.0", "+Inf", "x", "", *map(str, range(2, 999)))
    series = [_series(0, [NOW_S, "2"], le=bound) for bound in bounds]
    others = [_series(1, [NOW_S, str(NOW_S)]), _series(2, [NOW_S, "1"])]
    with serving(_success(*series, *others)) as server:
        reading = read(Endpoint("test", server.base), wanted, _turn(10, []))
    table = reading.leaves[BUCKETS]
    assert isinstance(table, Buckets)
    assert (table.le[0], table.le[-1], table.le.size) == (1, np.inf, 256)
    assert table.rates[0, :2, 0].tolist() == [4, 2]
    assert reading.told == ("ttft_bucket has more than 256 buckets.",)


@pytest.mark.parametrize(
    ("login", "header"),
    [
        (Login(token=TOKEN), f"Authorization: Bearer {TOKEN}"),
        (Login(user="ana", password=TOKEN), "Authorization: Basic YW5hOnMzY3IzdC10MGtlbg=="),
        (Login(tenant="team-a"), "X-Scope-OrgID: team-a"),
        (Login(tenant="team-a"), "THANOS-TENANT: team-a"),
    ],
)
def test_it_is_asked_as_somebody_who_is_in_no_text(login: Login, header: str) -> None:
    echo = as_json({"status": "error", "error": f"bad {header}"}, "400 No")
    with serving(echo) as server:
        told = _read(server, login).told
    head, form = server.asked[0]
    assert header in head.splitlines()
    assert "no-store" in head
    assert (form["start"], form["end"], form["step"]) == (
        ["1699999985.000"],
        ["1700000000.000"],
        ["15"],
    )
    assert form["partial_response"] == form["dedup"] == ["true"]
    assert TOKEN not in repr((told, login))
    assert "YW5h" not in repr(told)


def test_a_token_that_no_header_can_hold_is_not_sent() -> None:
    with serving(_success()) as server:
        told = _read(server, Login(token="a\nHost: evil")).told
    assert (server.asked, told) == (
        [],
        ("Token and tenant may only have characters that a header can hold.",),
    )


def test_certificates_of_both_sides_are_checked(tmp_path: Path) -> None:
    ours, other = authority(), authority()
    server_pem, client_pem = certificate(ours, "127.0.0.1"), certificate(ours, "us")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "server.pem").write_text("".join(server_pem))
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(cadata=ours[0])
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(_success(), tls=context) as server:
        right = _read(server, Login(tls=Tls(ours[0], *client_pem)))
        wrong = _read(server, Login(tls=Tls(other[0], *client_pem)))
        nobody = _read(server, Login(tls=Tls(ours[0])))
        broken = _read(server, Login(tls=Tls(ours[0], "no PEM", "no key")))
    assert (set(right.leaves), right.told) == ({LEAF}, ())
    assert [each.leaves for each in (wrong, nobody, broken)] == [{}, {}, {}]
    assert wrong.told == ("Its certificate is not trusted, or ours is not.",)
    assert nobody.told
    assert broken.told
