"""Real AJP connectors behind a real `lbproxy run`: what they are told, and bodies byte for byte."""

from __future__ import annotations

import hashlib
import http.client
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ajp_nodes import APP, KINDS, SECRET, AjpNode, UndertowNode
from tests.e2e.artifacts import Missing
from tests.e2e.door import Door

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# Around what one packet holds (8186 up, 8184 down), and far more.
SIZES = [0, 1, 8184, 8185, 8186, 8187, 1 << 20, 64 << 20]
NAMES = ("node1", "node2")


@dataclass
class Stage:
    """One kind of node, two of them, and lbproxy in front."""

    kind: str
    door: Door
    nodes: dict[str, AjpNode]

    def until_serves(self, node: str) -> None:
        """Wait until lbproxy gives a node what belongs to it."""
        client = Client(self.door, node)
        self.door.until(lambda: client.ask("GET", "/ignore").fields["X-Node"] == node)


@dataclass
class Answer:
    status: int
    fields: http.client.HTTPMessage
    body: bytes


def settings(nodes: Iterable[AjpNode], secret: Path, **pool: Any) -> dict[str, Any]:
    return {
        "sticky": {"by": ["route"], "cookie": "JSESSIONID"},
        "health": {"probe": "ping", "interval": "500ms", "timeout": "2s", "fall": 2, "rise": 1},
        "ejection": False,
        "nodes": [
            {"name": each.name, "url": each.url, "secret_file": str(secret)} for each in nodes
        ],
    } | pool


@pytest.fixture(scope="module", params=KINDS)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("ajp")
    secret = folder / "ajp.secret"
    secret.write_text(f"{SECRET}\n")
    try:
        nodes = {name: KINDS[request.param](name, folder) for name in NAMES}
    except Missing as missing:
        pytest.skip(str(missing))
    with ExitStack() as until_done:
        for node in nodes.values():
            until_done.callback(node.stop)
            node.start()
        sections = {"limits": {"body": "200MiB"}, "timeouts": {"response": "10s"}}
        pool = settings(nodes.values(), secret)
        with Door(folder, pool, **sections) as door:
            for name in NAMES:
                door.until_health(name, "up")
            yield Stage(request.param, door, nodes)


OPEN: list[Client] = []


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().connection.close()


class Client:
    """One kept-alive connection over TLS. Args: node: whose sessions it has."""

    def __init__(self, door: Door, node: str = "node1") -> None:
        self.connection = http.client.HTTPSConnection(
            "localhost", door.port, context=door.context, timeout=60
        )
        self.session = f"{uuid.uuid4().hex}.{node}"
        OPEN.append(self)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        **fields: str | bytes,
    ) -> Answer:
        """Send a request; a body that is no bytes goes in chunks."""
        chunked = body is not None and not isinstance(body, bytes)
        self.connection.request(
            method,
            APP + path,
            body,
            {"Cookie": f"JSESSIONID={self.session}"}
            | {name.replace("_", "-"): value for name, value in fields.items()},
            encode_chunked=chunked,
        )
        answer = self.connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def pieces(payload: bytes) -> Iterator[bytes]:
    """Yield it in pieces of all sizes."""
    at, size = 0, 1
    while at < len(payload):
        yield payload[at : at + size]
        at += size
        size = min(size * 3 + 1, 70_000)


def downloaded(size: int) -> bytes:
    """Return what `/download` answers."""
    period = bytes(at * 31 % 251 for at in range(251))
    return (period * (size // 251 + 1))[:size]


def told(answer: Answer) -> dict[str, str]:
    return dict(line.split("=", 1) for line in answer.body.decode("latin-1").splitlines())


def test_an_application_sees_the_client_and_its_address(stage: Stage) -> None:
    client = Client(stage.door)
    client.connection.connect()
    port = client.connection.sock.getsockname()[1]
    answer = client.ask("GET", "/facts?a=b%20c&d", X_Forwarded_For="6.6.6.6")
    facts = told(answer)
    assert answer.fields["X-Node"] == "node1"
    assert facts["method"] == "GET"
    assert facts["protocol"] == "HTTP/1.1"
    assert facts["uri"] == f"{APP}/facts"
    assert facts["query"] == "a=b%20c&d"
    assert facts["url"] == f"https://localhost:{stage.door.port}{APP}/facts"
    assert facts["server"] == f"localhost {stage.door.port}"
    assert facts["secure"] == "https true"
    assert facts["remote"] == f"127.0.0.1 {port}"
    assert bytes.fromhex(facts["field x-forwarded-for"]) == b"127.0.0.1"
    if stage.kind == "tomcat":  # Undertow tells these only with a session id or a certificate
        assert facts["local"] == "127.0.0.1"
        assert facts["cipher"].startswith("TLS_")
        assert facts["key_size"] in ("128", "256")
        assert facts["tls"] == "TLSv1.3"


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "OPTIONS", "REPORT"])
def test_methods_arrive(stage: Stage, method: str) -> None:
    assert told(Client(stage.door).ask(method, "/facts"))["method"] == method


def test_fields_arrive_byte_for_byte_both_ways(stage: Stage) -> None:
    answer = Client(stage.door).ask(
        "GET", "/facts", X_Latin=b"caf\xe9", X_Utf8="käse".encode(), Cookie='a=1; b="2"'
    )
    facts = told(answer)
    assert bytes.fromhex(facts["field x-latin"]) == b"caf\xe9"
    assert bytes.fromhex(facts["field x-utf8"]) == "käse".encode()
    assert bytes.fromhex(facts["field cookie"]) == b'a=1; b="2"'
    assert answer.fields.get_all("Set-Cookie") == ["A=1; Path=/", "B=2; HttpOnly"]
    assert answer.fields["X-Text"].encode("latin-1") == b"caf\xe9"
    assert len(answer.fields.get_all("Date") or []) == 1


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_an_upload_arrives_byte_for_byte(stage: Stage, size: int, chunked: bool) -> None:
    payload = downloaded(size)
    client = Client(stage.door)
    for _ in range(2):  # nothing of the first may be left over
        answer = client.ask("POST", "/upload", pieces(payload) if chunked else payload)
        assert answer.status == 200
        assert answer.body.decode() == f"{size} {hashlib.sha256(payload).hexdigest()}"


@pytest.mark.parametrize("how", ["", "&chunked", "&chunked&flush", "&flush"])
@pytest.mark.parametrize("size", SIZES)
def test_a_download_arrives_byte_for_byte(stage: Stage, size: int, how: str) -> None:
    client = Client(stage.door)
    for _ in range(2):
        answer = client.ask("GET", f"/download?n={size}{how}")
        assert answer.status == 200
        assert answer.body == downloaded(size)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_application_answers_while_it_reads(stage: Stage, chunked: bool) -> None:
    payload = downloaded(300_000)
    answer = Client(stage.door).ask("POST", "/mirror", pieces(payload) if chunked else payload)
    assert answer.body == payload


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_head_request_has_no_body_and_leaves_none(stage: Stage, method: str) -> None:
    client = Client(stage.door)
    answer = client.ask(method, "/download?n=20000")
    assert answer.fields["Content-Length"] == "20000"
    assert len(answer.body) == (0 if method == "HEAD" else 20000)
    assert client.ask("GET", "/ignore").body == b"ignored"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1, 8186, 8187, 100_000])
@pytest.mark.parametrize("path", ["/ignore", "/partly?n=1"])
def test_an_application_that_reads_too_little_confuses_nobody(
    stage: Stage, path: str, size: int, chunked: bool
) -> None:
    """What it left must not become part of the next request on the connection."""
    client = Client(stage.door)
    payload = downloaded(size)
    for _ in range(3):
        answer = client.ask("POST", path, pieces(payload) if chunked else payload)
        assert answer.status == 200
        client.connection.close()  # the answer may have come first
        answer = client.ask("POST", "/upload", payload)
        assert answer.body.decode() == f"{size} {hashlib.sha256(payload).hexdigest()}"


def test_100_continue(stage: Stage) -> None:
    for framing in ("Content-Length: 3", "Transfer-Encoding: chunked"):
        client = Client(stage.door)
        client.connection.connect()
        sock = client.connection.sock
        sock.sendall(
            f"POST {APP}/upload HTTP/1.1\r\nHost: a\r\n{framing}\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc" if "Length" in framing else b"3\r\nabc\r\n0\r\n\r\n")
        answer = b""
        while b"\r\n\r\n3 " not in answer:
            piece = sock.recv(1000)
            assert piece, answer
            answer += piece
        client.connection.close()


def test_connections_are_used_again(stage: Stage) -> None:
    client, node = Client(stage.door), stage.nodes["node1"]
    client.ask("GET", "/ignore")
    before = node.connections()
    payload = downloaded(50_000)
    for _ in range(20):
        client.ask("GET", "/facts")
        client.ask("POST", "/upload", payload)
        client.ask("POST", "/upload", pieces(payload))
        client.ask("GET", "/download?n=50000&chunked")
        client.ask("HEAD", "/download?n=5")
    # Probes come and go; what was idle before is idle again.
    assert before & node.connections()  # all but those of probes, which have ended
    assert len(before) <= 2


def test_many_at_once_are_not_mixed_up(stage: Stage) -> None:
    wrong: list[str] = []

    def work(number: int) -> None:
        client = Client(stage.door, NAMES[number % 2])
        for turn in range(10):
            size = (number * 7919 + turn * 104_729) % 300_000
            payload = downloaded(size)
            answer = client.ask("POST", "/upload", pieces(payload) if turn % 2 else payload)
            if answer.body.decode() != f"{size} {hashlib.sha256(payload).hexdigest()}":
                wrong.append(f"up {size}: {answer.status} {answer.body[:100]!r}")
            answer = client.ask("GET", f"/download?n={size}" + ("&chunked" if turn % 2 else ""))
            if answer.body != payload:
                wrong.append(f"down {size}: {answer.status} {len(answer.body)}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert wrong == []


def test_a_session_of_long_ago_gets_a_sign_of_life_first(stage: Stage) -> None:
    """Connections that were idle for some seconds are asked before they serve again."""
    client, node = Client(stage.door), stage.nodes["node1"]
    client.ask("GET", "/ignore")
    before = node.connections()
    threading.Event().wait(4)  # the time that it takes is what is tested
    assert client.ask("POST", "/upload", b"abc").status == 200
    assert before & node.connections()  # all but those of probes, which have ended


def test_a_head_that_the_container_cannot_send(stage: Stage) -> None:
    """Tomcat sends nothing at all, Undertow what is no packet; the client gets an answer."""
    client = Client(stage.door)
    assert client.ask("GET", "/big?n=5000").status == 200
    status = client.ask("GET", "/big?n=60000").status
    assert status in (502, 504)
    assert Client(stage.door).ask("GET", "/ignore").body == b"ignored"
    if stage.kind == "tomcat":
        stage.door.child.until("packetSize|packet size", 5)


def test_a_head_that_no_packet_holds(stage: Stage) -> None:
    before = stage.door.metric("lbproxy_upstream_failures_total")
    assert Client(stage.door).ask("GET", "/facts", X_Large="x" * 9000).status == 431
    assert Client(stage.door).ask("GET", "/facts?" + "q" * 8500).status == 414
    assert stage.door.metric("lbproxy_upstream_failures_total") == before


def test_a_killed_node_and_its_return(stage: Stage) -> None:
    """Its connections are pooled when it dies, and when it comes back."""
    node = stage.nodes["node1"]
    clients = [Client(stage.door) for _ in range(4)]
    for client in clients:
        assert client.ask("GET", "/note?id=a").fields["X-Node"] == "node1"
    node.stop()
    ids = [uuid.uuid4().hex for _ in range(8)]  # the budget of retries holds more
    for number, each in enumerate(ids):
        client = clients[number % 4]
        answer = client.ask("GET" if number % 2 else "POST", f"/note?id={each}", None)
        assert (answer.status, answer.fields["X-Node"]) == (200, "node2")
    noted = Client(stage.door, "node2").ask("GET", "/noted").body.decode().split()
    assert [noted.count(each) for each in ids] == [1] * len(ids)
    node.start()
    stage.until_serves("node1")
    for client in clients:
        assert client.ask("POST", "/upload", b"abc").fields["X-Node"] == "node1"


def test_a_restart_between_two_requests_is_not_noticed(stage: Stage) -> None:
    """Every pooled connection is dead when the next request, a form, comes."""
    client, node = Client(stage.door), stage.nodes["node1"]
    for _ in range(3):
        assert client.ask("GET", "/ignore").status == 200
    node.stop()
    node.start()
    answer = client.ask("POST", "/upload", b"abc")
    assert (answer.status, answer.body.split()[0]) == (200, b"3")


def test_a_node_that_hangs_is_left_before_a_form_is_sent(stage: Stage, tmp_path: Path) -> None:
    """The kernel still takes its connections, and no probe has noticed; nobody answers a ping."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    node = stage.nodes["node1"]
    with Door(tmp_path, settings(stage.nodes.values(), secret, health=False)) as door:
        client = Client(door)
        assert client.ask("GET", "/ignore").fields["X-Node"] == "node1"
        door.until(lambda: door.metric("lbproxy_node_in_flight", node="node1") == 0)
        node.running.pause()
        try:
            threading.Event().wait(4)  # the time that it takes is what is tested
            answer = client.ask("POST", "/upload", b"abc")
            assert (answer.status, answer.fields["X-Node"]) == (200, "node2")
        finally:
            node.stop()
            node.start()
    stage.until_serves("node1")


def test_a_wrong_secret_is_named(stage: Stage, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wr0ng")
    pool = settings([stage.nodes["node1"]], secret, health=False)
    with Door(tmp_path, pool) as door:
        client = Client(door)
        answer = client.ask("GET", "/ignore")
        if stage.kind == "undertow":  # it stores the secret and never looks at it
            assert answer.status == 200
            return
        assert answer.status == 403
        door.child.until("AJP secret", 5)
        assert client.ask("GET", "/ignore").status == 403
        assert sum("AJP secret" in line for line in door.child.lines) == 1
        assert not any("wr0ng" in line for line in door.child.lines)
        with door.logged() as lines:
            client.ask("GET", "/ignore")
        assert lines[0]["status"] == 403


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_over_the_containers_limit_is_not_held_against_it(
    tmp_path: Path, chunked: bool
) -> None:
    """Undertow answers 413, or ends the connection without a word."""
    try:
        node = UndertowNode("node1", tmp_path, max_entity=100_000)
    except Missing as missing:
        pytest.skip(str(missing))
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    pool = settings([node], secret, health=False, ejection={"failures": 1})
    try:
        node.start()
        with Door(tmp_path, pool) as door:
            payload = downloaded(500_000)
            for _ in range(3):
                client = Client(door)
                try:
                    answer = client.ask("POST", "/upload", pieces(payload) if chunked else payload)
                except (ConnectionError, http.client.HTTPException):
                    continue  # it was still sending when the answer came
                assert answer.status in (413, 500, 502)
            assert door.metric("lbproxy_upstream_failures_total", reason="upstream_reset") == 0
            assert Client(door).ask("POST", "/upload", b"abc").status == 200
    finally:
        node.stop()
