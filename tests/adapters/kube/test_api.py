"""One API server, whatever comes over the line."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

import pytest

from controller.adapters.kube import wire
from controller.adapters.kube.api import (
    Api,
    ConflictError,
    Credentials,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubeError,
    MissingError,
    Res,
    ServerError,
    ThrottledError,
    UnauthorisedError,
    UnreachableError,
)
from tests.adapters.kube.scripted import Scripted, http
from tests.adapters.prometheus.certificates import authority, certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[..., Scripted]

DEPLOYMENTS = Res("apps/v1", "deployments")
NODES = Res("v1", "nodes")
PODS = Res("v1", "pods")
DATE = "Date: Wed, 01 Jul 2026 12:00:00 GMT"


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[Scripted] = []

    def begin(*answers: bytes | None, context: ssl.SSLContext | None = None) -> Scripted:
        running.append(Scripted(answers, context))
        return running[-1]

    yield begin
    for each in running:
        each.close()


def soon() -> float:
    return time.monotonic() + 20


def read(server: Scripted, **credentials: str) -> dict[str, object]:
    api = Api(Credentials(server.url, **credentials))
    try:
        return api.read(DEPLOYMENTS, "prod", "chat", until=soon())
    finally:
        api.close()


def failing(answer: bytes | None, serve: Serve) -> KubeError:
    with pytest.raises(KubeError) as caught:
        read(serve(answer))
    return caught.value


@pytest.mark.parametrize(
    ("res", "namespace", "subresource", "path"),
    [
        pytest.param(DEPLOYMENTS, "prod", "", "/apis/apps/v1/namespaces/prod/deployments/chat"),
        pytest.param(
            DEPLOYMENTS, "prod", "scale", "/apis/apps/v1/namespaces/prod/deployments/chat/scale"
        ),
        pytest.param(PODS, "prod", "status", "/api/v1/namespaces/prod/pods/chat/status"),
        pytest.param(NODES, "", "", "/api/v1/nodes/chat", id="of the whole cluster"),
    ],
)
def test_an_object_has_its_path(
    serve: Serve, res: Res, namespace: str, subresource: str, path: str
) -> None:
    server = serve(http("200 OK", '{"a": null}'))
    api = Api(Credentials(server.url, token="t"), agent="heteroscale/9")

    assert api.read(res, namespace, "chat", until=soon(), subresource=subresource) == {"a": None}

    request, *headers = server.asked[0].splitlines()
    assert request == f"GET {path} HTTP/1.1"
    assert {"Authorization: Bearer t", "User-Agent: heteroscale/9"} <= set(headers)
    assert "Accept-Encoding: identity" in headers


def test_a_server_below_a_path_is_asked_below_it(serve: Serve) -> None:
    server = serve(http("200 OK", '{"items": [], "metadata": {}}'))
    api = Api(Credentials(server.url + "/k8s/clusters/c-1/"))

    assert [page.items for page in api.pages(PODS, None, selector="a=b", until=soon())] == [[]]
    assert server.asked[0].startswith("GET /k8s/clusters/c-1/api/v1/pods?limit=500&label")


def test_a_change_is_a_merge_patch_of_ours(serve: Serve) -> None:
    server = serve(http("200 OK", '{"spec": {"replicas": 3}}'))
    body = {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 3}}

    changed = Api(Credentials(server.url)).merge(DEPLOYMENTS, "prod", "chat", body, until=soon())

    assert changed == {"spec": {"replicas": 3}}
    assert server.asked[0].startswith(
        "PATCH /apis/apps/v1/namespaces/prod/deployments/chat?fieldManager=heteroscale "
    )
    assert "Content-Type: application/merge-patch+json" in server.asked[0]


@pytest.mark.parametrize("name", ["a/../../../../b", "..", "a?b", "a b", "é"])
def test_what_is_no_name_is_not_asked_for(serve: Serve, name: str) -> None:
    server = serve()

    with pytest.raises(InvalidError, match="is no name"):
        Api(Credentials(server.url)).read(PODS, "prod", name, until=soon())

    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "expect"),
    [
        ("302 Found", UnreachableError),
        ("400 Bad Request", InvalidError),
        ("401 Unauthorized", UnauthorisedError),
        ("403 Forbidden", ForbiddenError),
        ("404 Not Found", MissingError),
        ("405 Method Not Allowed", InvalidError),
        ("408 Request Timeout", UnreachableError),
        ("409 Conflict", ConflictError),
        ("410 Gone", GoneError),
        ("415 Unsupported Media Type", InvalidError),
        ("422 Unprocessable Entity", InvalidError),
        ("429 Too Many Requests", ThrottledError),
        ("500 Internal Server Error", ServerError),
        ("502 Bad Gateway", ServerError),
        ("503 Service Unavailable", ServerError),
        ("504 Gateway Timeout", ServerError),
        ("599 Whatever", ServerError),
    ],
)
@pytest.mark.parametrize("body", ['{"message": "because \\u0007"}', "<html>login</html>", ""])
def test_a_status_is_an_error_of_its_own(
    serve: Serve, status: str, body: str, expect: type[KubeError]
) -> None:
    found = failing(http(status, body, "Location: http://169.254.169.254/"), serve)

    assert type(found) is expect
    if expect is not UnreachableError:
        assert found.status == int(status[:3])
        assert ("because" in found.text) is ("because" in body)
    assert found.text.isprintable()


def test_a_missing_right_is_named_with_what_prints_it(serve: Serve) -> None:
    found = failing(http("403 Forbidden", '{"message": "User \\"u\\" cannot get"}'), serve)

    assert isinstance(found, ForbiddenError)
    assert (found.verb, found.what, found.namespace) == ("get", "deployments.apps", "prod")
    assert found.text == (
        "Not allowed (403): get deployments.apps in the namespace prod. "
        "`heteroscale cluster rights` prints what is needed. "
        'The API server says: User "u" cannot get'
    )


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        pytest.param(["Retry-After: 1"], 1.0, id="1 s"),
        pytest.param(["Retry-After: 30"], 30.0, id="30 s"),
        pytest.param([], 5.0, id="absent: 5 s"),
        pytest.param(["Retry-After: 0"], 1.0, id="0: at least 1 s"),
        pytest.param(["Retry-After: 1000000000"], 60.0, id="10^9: capped at 60 s"),
        pytest.param(["Retry-After: " + "9" * 5000], 60.0, id="5,000 digits: capped"),
        pytest.param(["Retry-After: -3"], 5.0, id="negative: as absent"),
        pytest.param(["Retry-After: soon"], 5.0, id="no number: as absent"),
        pytest.param(
            [DATE, "Retry-After: Wed, 01 Jul 2026 12:00:42 GMT"], 42.0, id="a date, 42 s later"
        ),
        pytest.param([DATE, "Retry-After: Wed, 01 Jul 2026 11:00:00 GMT"], 1.0, id="a date gone"),
        pytest.param(["Retry-After: Wed, 01 Jul 2026 12:00:42 GMT"], 5.0, id="a date, no clock"),
    ],
)
def test_a_wait_is_as_told_within_a_minute(
    serve: Serve, headers: list[str], wait_s: float
) -> None:
    found = failing(http("429 Too Many Requests", "<html>", *headers), serve)

    assert isinstance(found, ThrottledError)
    assert found.wait_s == wait_s


class Told:
    """A pause kept by a test."""

    def __init__(self, left: float = 0.0) -> None:
        self.left = left

    def left_s(self) -> float:
        return self.left

    def told(self, wait_s: float) -> None:
        self.left = wait_s


def test_a_wait_is_shared_and_kept(serve: Serve) -> None:
    server = serve(http("429 Too Many Requests", "", "Retry-After: 9"), http("200 OK", "{}"))
    pause = Told()

    for api in (Api(Credentials(server.url), pause=pause) for _ in range(2)):
        with pytest.raises(ThrottledError) as caught:
            api.read(NODES, "", "n", until=soon())
        assert caught.value.wait_s == 9.0

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(http("200 OK", "<html>Log in</html>"), id="a page"),
        pytest.param(http("200 OK", "[]"), id="no object"),
        pytest.param(http("200 OK", "[" * 10_000), id="10,000 deep"),
        pytest.param(http("200 OK", '{"a": NaN}'), id="no number"),
        pytest.param(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"a": 1}', id="cut off"),
        pytest.param(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"a": 1}\n\r\n',
            id="without the last chunk",
        ),
        pytest.param(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n99\r\n{"a": 1}',
            id="within a chunk",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="within the headers"),
        pytest.param(b"", id="closed without an answer"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="another protocol"),
    ],
)
def test_an_answer_that_is_none_may_have_been_carried_out(serve: Serve, answer: bytes) -> None:
    found = failing(answer, serve)

    assert isinstance(found, UnreachableError)
    assert found.sent


def test_an_answer_too_large_is_none(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.body_of, "__defaults__", (2**20,))
    server = serve(http("200 OK", '{"a": "' + "x" * 2**20 + '"}'))

    with pytest.raises(UnreachableError, match="larger than 1 MiB"):
        read(server)


def test_a_server_that_says_nothing_is_left_at_the_deadline(serve: Serve) -> None:
    server = serve(None)

    with pytest.raises(UnreachableError, match="did not answer in time") as caught:
        Api(Credentials(server.url)).read(NODES, "", "n", until=time.monotonic() + 0.1)

    assert caught.value.sent


def test_nothing_is_asked_once_no_time_is_left(serve: Serve) -> None:
    server = serve(http("200 OK", "{}"))

    with pytest.raises(UnreachableError, match="No time is left") as caught:
        Api(Credentials(server.url)).read(NODES, "", "n", until=time.monotonic())

    assert not caught.value.sent
    assert server.asked == []


def test_nobody_listening_has_heard_nothing(serve: Serve) -> None:
    server = serve()
    server.close()

    with pytest.raises(UnreachableError, match="Nobody listens there") as caught:
        read(server)

    assert not caught.value.sent


@pytest.mark.parametrize(
    "server",
    ["https://169.254.169.254", "http://metadata.google.internal", "ftp://a", "http://u:p@a", ""],
)
def test_what_tells_a_machine_its_credentials_is_never_asked(server: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        Api(Credentials(server))

    assert not caught.value.sent


def test_a_name_that_leads_to_the_own_link_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leads = [(2, 1, 6, "", ("127.0.0.1", 1)), (2, 1, 6, "", ("169.254.169.254", 1))]
    monkeypatch.setattr(wire.socket, "getaddrinfo", lambda *_, **__: leads)

    with pytest.raises(UnreachableError, match="never asked") as caught:
        Api(Credentials("http://kube.example:1")).read(NODES, "", "n", until=soon())

    assert not caught.value.sent


def listed(items: str, more: str = "") -> bytes:
    return http(
        "200 OK", f'{{"metadata": {{"resourceVersion": "7", "continue": "{more}"}}, {items}}}'
    )


def test_a_list_comes_in_parts(serve: Serve) -> None:
    server = serve(listed('"items": [{"a": 1}, 5]', "next"), listed('"items": null'))

    found = list(Api(Credentials(server.url)).pages(PODS, "prod", until=soon(), size=2))

    assert [(page.items, page.resource_version) for page in found] == [
        ([{"a": 1}, {}], "7"),
        ([], "7"),
    ]
    assert [line.split()[1].partition("?")[2] for line in server.asked] == [
        "limit=2",
        "limit=2&continue=next",
    ]


@pytest.mark.parametrize(
    ("second", "expect"),
    [
        pytest.param(http("410 Gone", '{"message": "too old"}'), GoneError, id="token ran out"),
        pytest.param(listed('"items": [{"a": 1}]')[:-9], UnreachableError, id="cut off"),
        pytest.param(http("200 OK", '{"items": {}}'), UnreachableError, id="no list"),
    ],
)
def test_a_part_of_a_list_is_no_list(serve: Serve, second: bytes, expect: type[KubeError]) -> None:
    server = serve(listed('"items": [{"a": 1}]', "next"), second)

    with pytest.raises(expect):
        list(Api(Credentials(server.url)).pages(PODS, "prod", until=soon()))


def watched(*lines: str) -> bytes:
    chunks = "".join(f"{len(line):x}\r\n{line}\r\n" for line in lines)
    return (f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").encode()


def test_events_come_one_by_one_however_they_are_cut(serve: Serve) -> None:
    said = ['{"type": "ADDED", "obj', 'ect": {"a": 1}}\n{"type": "BOOKMARK"}\n', "\n"]
    server = serve(watched(*said) + b"0\r\n\r\n")
    api = Api(Credentials(server.url))

    events = list(api.watch(PODS, "prod", selector="app=x", version="7", seconds=30))

    assert events == [("ADDED", {"a": 1}), ("BOOKMARK", {})]
    query = set(server.asked[0].split()[1].partition("?")[2].split("&"))
    assert query == {
        "watch=true",
        "resourceVersion=7",
        "allowWatchBookmarks=true",
        "timeoutSeconds=30",
        "labelSelector=app%3Dx",
    }


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        pytest.param(http("410 Gone", ""), GoneError, id="as a status"),
        pytest.param(
            watched('{"type": "ERROR", "object": {"code": 410, "message": "old"}}\n'),
            GoneError,
            id="as an event",
        ),
        pytest.param(watched('{"type": "ADDED"}\n'), UnreachableError, id="last chunk missing"),
        pytest.param(
            watched('{"type": "ADDED"') + b"0\r\n\r\n", UnreachableError, id="within an event"
        ),
        pytest.param(watched("<html>\n") + b"0\r\n\r\n", UnreachableError, id="no event"),
    ],
)
def test_a_watch_that_broke_says_so(serve: Serve, answer: bytes, expect: type[KubeError]) -> None:
    server = serve(answer)

    with pytest.raises(expect):
        list(Api(Credentials(server.url)).watch(PODS, "prod", version="7", seconds=30))


def test_it_is_asked_what_we_may_and_who_we_are(serve: Serve) -> None:
    server = serve(
        http("201 Created", '{"status": {"allowed": true}}'),
        http("201 Created", '{"status": {"allowed": false, "reason": "no"}}'),
        http("201 Created", '{"status": {"userInfo": {"username": "system:u"}}}'),
        http("404 Not Found", ""),
        http("200 OK", '{"gitVersion": "v1.33.1"}', DATE),
    )
    api = Api(Credentials(server.url))

    assert api.may("patch", DEPLOYMENTS, "prod", subresource="scale")
    assert not api.may("list", NODES)
    assert api.account() == "system:u"
    assert api.account() == ""
    assert api.version() == "v1.33.1"
    clock_s = api.clock_s()
    assert clock_s is not None
    assert 0 <= clock_s - 1_782_907_200 < 20
    assert [line.split(maxsplit=2)[1] for line in server.asked] == [
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "/version",
    ]


def test_a_rotated_token_is_read_anew(serve: Serve, tmp_path: Path) -> None:
    server = serve(http("200 OK", "{}"), http("200 OK", "{}"))
    held = tmp_path / "token"
    api = Api(Credentials(server.url, token_file=str(held)))
    for token in ("first\n", "second\n"):
        held.write_text(token)
        api.read(NODES, "", "n", until=soon())
    held.unlink()

    with pytest.raises(UnreachableError, match="can't be read") as caught:
        api.read(NODES, "", "n", until=soon())

    assert not caught.value.sent
    assert ["Bearer first" in server.asked[0], "Bearer second" in server.asked[1]] == [True, True]


class Tls:
    """An authority, a server of it that asks for certificates, and a client."""

    def __init__(self, tmp_path: Path) -> None:
        self.ca = authority()
        self.client = certificate(self.ca, "client")
        named = certificate(self.ca, "127.0.0.1")
        held = tmp_path / "server.pem"
        held.write_text("".join(named))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(held)
        self.context.load_verify_locations(cadata=self.ca[0])


def test_certificates_are_texts_on_both_sides(serve: Serve, tmp_path: Path) -> None:
    tls = Tls(tmp_path)
    tls.context.verify_mode = ssl.CERT_REQUIRED
    server = serve(http("200 OK", '{"a": 1}'), context=tls.context)

    found = read(server, ca=tls.ca[0], certificate=tls.client[0], key=tls.client[1])

    assert found == {"a": 1}


def test_a_server_of_another_authority_is_told_nothing(serve: Serve, tmp_path: Path) -> None:
    tls = Tls(tmp_path)
    server = serve(http("200 OK", "{}"), context=tls.context)

    with pytest.raises(UnreachableError, match="certificate is not trusted") as caught:
        read(server, ca=authority()[0], token="secret")

    assert not caught.value.sent
    assert server.asked == []


def test_another_protocol_behind_https_is_said(serve: Serve) -> None:
    server = serve(http("200 OK", "{}"))

    with pytest.raises(UnreachableError, match="is this the port of the API") as caught:
        Api(Credentials(server.url.replace("http:", "https:"))).read(NODES, "", "n", until=soon())

    assert not caught.value.sent


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"ca": "none"}, "certificate authority is no PEM"),
        ({"certificate": "none", "key": "none"}, "no pair of PEM texts"),
    ],
)
def test_texts_that_are_no_certificates_are_named(texts: dict[str, str], words: str) -> None:
    with pytest.raises(UnreachableError, match=words):
        Api(Credentials("https://127.0.0.1:1", **texts))
