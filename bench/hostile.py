"""`python -m bench.hostile`: what hostile peers cost lbproxy, in time, memory and CPU.

Each attack is a client (or a node) that sends the worst that the limits allow, as fast as it can.
Printed for each: the longest block of the event loop (see `heartbeat`), the memory that lbproxy
grew by for each byte that was sent, and its CPU seconds for each of the attacker's. The attacker
sends bytes that were made before, so its CPU time is little more than the kernel's.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme
import yaml

from bench.processes import Child, cores, pinned, raise_file_limit
from lbproxy.wire.mcmp_client import render_command

LIMIT_BLOCK_MS = 50.0
LIMIT_FACTOR = 100.0
SLOW_CLIENTS = 500
STALL_BYTES = 96 << 20
STALL_GROWTH = 24 << 20
# Growth below this is the allocator's rounding, whatever few bytes caused it.
NOISE_BYTES = 1 << 20
TRUSTED = "127.0.0.2"  # whoever comes from here is a trusted proxy
HEAD = b"GET / HTTP/1.1\r\nHost: idp.example.com\r\n"
POST = b"POST / HTTP/1.1\r\nHost: idp.example.com\r\n"

Attack = Callable[[int], int]  # port -> bytes sent


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one attack. Args: memory, cpu: lbproxy's for each byte and CPU second of the attacker."""

    name: str
    block_ms: float
    memory: float
    cpu: float


class Door:
    """lbproxy as a child process. Args: port: of its plain listener; tls_port: of the one with two
    certificates; child: its processes."""

    def __init__(self, process: subprocess.Popen[str], port: int, tls_port: int) -> None:
        self._process = process
        self.port = port
        self.tls_port = tls_port
        self.child = Child("lbproxy", process.pid)

    def longest_block_ms(self) -> float:
        """Return the longest block since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


class Origin(threading.Thread):
    """A node that does what the path says; each connection is served by a thread."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._server.getsockname()[1]

    def run(self) -> None:
        while True:
            connection, _ = self._server.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    got = connection.recv(1 << 16)
                    if not got:
                        return
                    data += got
                head, _, data = data.partition(b"\r\n\r\n")
                if head.startswith(b"POST /stall"):
                    time.sleep(20)
                    return
                if head.startswith(b"POST"):
                    while connection.recv(1 << 20):
                        pass
                    return
                path = head.split(b" ", 2)[1]
                connection.sendall(_ANSWERS.get(path, _ANSWERS[b"/"]))


def _chunks(size: int, count: int) -> bytes:
    return (b"%x\r\n%b\r\n" % (size, b"x" * size)) * count


_ANSWERS = {
    b"/": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + _chunks(1, 1 << 20)
    + b"0\r\n\r\n",
    b"/interim": b"HTTP/1.1 102 \r\n\r\n" * (1 << 16),
    b"/fields": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    + b"".join(b"X-F%d: %b\r\n" % (n, b"v" * 300) for n in range(190))
    + b"\r\n",
    b"/cookies": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    + b"Set-Cookie: AUTH_SESSION_ID=a.b.c.d.e.f; Path=/\r\n" * 190
    + b"\r\n",
    b"/stall": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % STALL_BYTES + b"x" * STALL_BYTES,
}


def _say(blob: bytes, times: int = 1, connections: int = 1, source: str = "127.0.0.1") -> Attack:
    """An attack that sends the blob and reads what comes, on so many connections in turn."""

    def attack(port: int) -> int:
        sent = 0
        for _ in range(connections):
            with socket.create_connection(
                ("127.0.0.1", port), timeout=20, source_address=(source, 0)
            ) as one:
                for _ in range(times):
                    with suppress(ConnectionError):
                        one.sendall(blob)
                        sent += len(blob)
                one.settimeout(0.3)
                with suppress(OSError):
                    while one.recv(1 << 20):
                        pass
        return sent

    return attack


def _pieces(pieces: Sequence[bytes], connections: int) -> Attack:
    """An attack that sends the pieces one by one, so that each is read by itself, and reads what
    comes; on so many connections in turn."""

    def attack(port: int) -> int:
        for _ in range(connections):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.settimeout(0.3)
                with suppress(OSError):
                    for piece in pieces:
                        one.sendall(piece)
                        time.sleep(0.0005)
                    while one.recv(1 << 20):
                        pass
        return connections * sum(map(len, pieces))

    return attack


def _dribble(blob: bytes) -> Attack:
    def attack(port: int) -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):
                for index in range(len(blob)):
                    one.send(blob[index : index + 1])
        return len(blob)

    return attack


def _crowd(count: int, blob: bytes) -> Attack:
    def attack(port: int) -> int:
        held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
        for one in held:
            one.sendall(blob)
        time.sleep(0.5)
        for one in held:
            one.close()
        return count * max(1, len(blob))

    return attack


def _fields(count: int, size: int) -> bytes:
    return b"".join(b"X-F%d: %b\r\n" % (n, b"v" * size) for n in range(count))


# A path that has more readings than any other that was found, as long as a request line may be.
READINGS = b"/x/%61;a//" + rb"/.%c4%b0;\//.%c5%bf\/x/..%c4%b0" * 250
# The same with as many readings as there may be, in as many bytes.
ALLOWED = rb"//x/%c5%bf\%41;b" + b"/" + b"y" * 1200
COMMAS = b"Accept: " + b"," * 50_000 + b"\r\n"


def _asks(path: bytes, fields: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nHost: idp.example.com\r\n" + fields + b"\r\n"


# A ClientHello of 12 KB, and the same in records of one byte each.
_HELLO = b"\x01\x00\x2f\xfc\x03\x03" + bytes(12_282)
HELLO = b"\x16\x03\x01\x30\x00" + _HELLO[:-1]
SHORT_RECORDS = b"".join(b"\x16\x03\x01\x00\x01%c" % byte for byte in _HELLO[:2500])

PIPELINE = (HEAD + b"\r\n") * 1500
ATTACKS: dict[str, Attack] = {
    "large heads, many fields": _say(HEAD + _fields(120, 480) + b"\r\n", 20, 10),
    "cookies full of dots": _say(
        HEAD + b"Cookie: " + b"AUTH_SESSION_ID=" + b"a." * 30_000 + b"\r\n\r\n", 20, 10
    ),
    "cookies by the thousand": _say(
        HEAD + b"Cookie: " + b"AUTH_SESSION_ID=1; " * 3000 + b"\r\n\r\n", 20, 10
    ),
    "path of dot segments": _say(
        b"GET /" + b"%2e%2e/a;x/" * 650 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 50, 10
    ),
    "path of percent signs": _say(
        b"GET /" + b"%25" * 2500 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 50, 10
    ),
    "path of many readings": _say(_asks(READINGS), 50, 10),
    "path of as many as there may be": _say(_asks(ALLOWED), 50, 10),
    "the same in a pool that nodes join": _say(_asks(b"/joined" + READINGS), 50, 10),
    "the same, too large and with commas": _say(
        _asks(READINGS, b"Content-Length: 999999999999\r\n" + COMMAS, b"POST"), 1, 200
    ),
    "Accept of commas": _say(_asks(b"/admin", COMMAS), 20, 10),
    "Connection of many members": _say(
        HEAD + b"Connection: " + b"a," * 30_000 + b"\r\n\r\n", 1, 200
    ),
    "Connection in many lines": _say(HEAD + b"Connection: a, b\r\n" * 32 + b"\r\n", 100, 10),
    "Forwarded of many members": _say(
        HEAD + b"Forwarded: " + b"for=1.1.1.1," * 5000 + b"\r\n\r\n", 1, 200, TRUSTED
    ),
    "Forwarded of as many as may be": _say(
        HEAD + b"Forwarded: " + b"a=b," * 256 + b"\r\n\r\n", 50, 10, TRUSTED
    ),
    "X-Forwarded-For of as many as may be": _say(
        HEAD + b"X-Forwarded-For: " + b"1," * 256 + b"\r\n\r\n", 50, 10, TRUSTED
    ),
    "our own cookie in many lines": _say(
        HEAD + (b"Cookie: " + b"LBROUTE=1; a=b; " * 31 + b"\r\n") * 120 + b"\r\n", 20, 10
    ),
    "a long head that ends in short lines": _pieces(
        [HEAD + b"Connection: " + b"a," * 30_000, b"\r\n", *[b"A: b\r\n"] * 124, b"\r\n"], 20
    ),
    "a head of many cookies, line by line": _pieces(
        [HEAD + b"Cookie: " + b"a=b;" * 15_000 + b"\r\n", *[b"A: b\r\n"] * 124, b"\r\n"], 20
    ),
    "trailers line by line": _pieces(
        [POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: " + b"x" * 7000 + b"\r\n"]
        + [b"A: b\r\n"] * 120
        + [b"\r\n"],
        20,
    ),
    "a head byte by byte": _dribble(HEAD + _fields(60, 400) + b"\r\n"),
    "a head of short lines, never ended": _dribble(HEAD + b"A: b\r\n" * 127),
    "a pipeline of small requests": _say(PIPELINE, 10),
    "a body in chunks of one byte": _say(
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + _chunks(1, 2 << 20)
    ),
    "chunk extensions": _say(
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"e" * 250 + b"\r\nx\r\n") * 60_000
    ),
    "trailers": _say(
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + _fields(100, 60) + b"\r\n"), 1, 50
    ),
    "TLS: a ClientHello byte by byte": _dribble(HELLO),
    "TLS: the same in records of one byte": _dribble(SHORT_RECORDS),
    "noise": _say(bytes(range(256)) * 256, 1, 100),
    "connections that say nothing": _crowd(900, b""),
    "connections with half a head": _crowd(900, HEAD + b"Cookie: " + b"x" * 8000),
    "a node: chunks of one byte": _say(HEAD.replace(b"/ ", b"/chunks ", 1) + b"\r\n"),
    "a node: interim answers without end": _say(HEAD.replace(b"/ ", b"/interim ", 1) + b"\r\n"),
    "a node: many fields": _say(HEAD.replace(b"/ ", b"/fields ", 1) + b"\r\n", 200),
    "a node: many cookies": _say(HEAD.replace(b"/ ", b"/cookies ", 1) + b"\r\n", 200),
}
# What the node sent was asked for by a few bytes: there the factor says nothing of the client.
_NODES = "a node:"
_TLS = "TLS:"  # these go to the other listener


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _join(mcmp_port: int, node_port: int) -> None:
    """Announce the node with two contexts, so that the path decides."""
    parameters = [("JVMRoute", "node2"), ("Host", "127.0.0.1"), ("Port", str(node_port))]
    commands = [("CONFIG", [*parameters, ("Type", "http")])]
    for context in ("/joined", "/joined/admin"):
        app = [("JVMRoute", "node2"), ("Alias", "localhost"), ("Context", context)]
        commands.append(("ENABLE-APP", app))
    with socket.create_connection(("127.0.0.1", mcmp_port), timeout=20) as one:
        for method, values in commands:
            one.sendall(render_command(method, values, f"127.0.0.1:{mcmp_port}"))
            if b" 200 " not in one.recv(4096):
                raise SystemExit(f"lbproxy did not take {method}")


def _issue(folder: Path) -> list[dict[str, str]]:
    """Write two certificates, so that the name in the ClientHello has to be read."""
    authority = trustme.CA()
    written: list[dict[str, str]] = []
    for name in ("one", "two"):
        issued = authority.issue_cert(f"{name}.example.com")
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        written.append({"cert": str(cert), "key": str(key)})
    return written


@contextmanager
def door(folder: Path, node_port: int, core: int) -> Iterator[Door]:
    """Run lbproxy with its default limits until the block ends."""
    mcmp_port = _free_port()
    document = {
        "pools": {
            "idp": {
                "sticky": {
                    "by": ["route", "path_parameter", "learned", "own_cookie"],
                    "cookie": "AUTH_SESSION_ID",
                    "path_parameter": "jsessionid",
                },
                "health": False,
                "hide": ["/admin", "/api/status"],
                "nodes": [{"name": "node1", "url": f"http://127.0.0.1:{node_port}"}],
            },
            "joined": {"hide": ["/admin"], "tenant_prefixes": ["/t/*"]},
        },
        "routes": [{"path": "/joined", "pool": "joined"}, {"path": "/", "pool": "idp"}],
        "mcmp": {"bind": f"127.0.0.1:{mcmp_port}", "pool": "joined"},
        "forwarding": {"trusted_proxies": [f"{TRUSTED}/32"], "fields": "both"},
        "access_log": {"path": str(folder / "access.log")},
    }
    # The ports are wanted before the child tells: take those that are free now.
    port, tls_port = _free_port(), _free_port()
    document["listeners"] = [
        {"name": "http", "bind": f"127.0.0.1:{port}"},
        {"name": "https", "bind": f"127.0.0.1:{tls_port}", "tls": {"certificates": _issue(folder)}},
    ]
    path = folder / "lbproxy.yaml"
    path.write_text(yaml.safe_dump(document))
    with (folder / "lbproxy.log").open("w") as log:
        process = subprocess.Popen(
            pinned(core, [sys.executable, "-m", "bench.heartbeat", str(path)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"lbproxy did not start:\n{(folder / 'lbproxy.log').read_text()}")
        _join(mcmp_port, node_port)
        yield Door(process, port, tls_port)
    finally:
        process.communicate(timeout=20)  # closes its input, which ends it


def measure(one: Door, name: str, attack: Attack) -> Cost:
    """Return what an attack costs."""
    port = one.tls_port if name.startswith(_TLS) else one.port
    attack(port)  # once before: code, tables and the allocator's arenas are not its cost
    one.longest_block_ms()
    one.child.forget_peak()
    before_rss, before_cpu = one.child.rss_bytes(), one.child.cpu_s()
    began = time.process_time()
    sent = attack(port)
    ours = time.process_time() - began
    theirs = one.child.cpu_s() - before_cpu
    grown = max(0, one.child.peak_rss_bytes() - before_rss)
    memory = 0.0 if grown < NOISE_BYTES or name.startswith(_NODES) else grown / sent
    cpu = 0.0 if name.startswith(_NODES) else theirs / max(ours, 0.01)
    return Cost(name, one.longest_block_ms(), memory, cpu)


def slow_clients(one: Door) -> tuple[float, float]:
    """Return the slowest of 300 ordinary requests in ms, without and with the slow clients."""

    def ordinary() -> float:
        slowest = 0.0
        with socket.create_connection(("127.0.0.1", one.port), timeout=20) as client:
            for _ in range(300):
                began = time.monotonic()
                client.sendall(HEAD + b"\r\n")
                got = b""
                while not got.endswith(b"ok"):
                    got += client.recv(4096)
                slowest = max(slowest, time.monotonic() - began)
        return slowest * 1000

    alone = ordinary()
    with ExitStack() as stack:
        held = []
        for number in range(SLOW_CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", one.port)))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            kind = (HEAD, POST + b"Content-Length: 9999\r\n\r\n", HEAD + b"\r\n")[number % 3]
            client.sendall(kind)
            held.append(client)
        stop = threading.Event()

        def dribble() -> None:
            while not stop.wait(0.05):
                for number, client in enumerate(held):
                    if number % 3 < 2:
                        with suppress(OSError):
                            client.send(b"x")

        thread = threading.Thread(target=dribble)
        thread.start()
        time.sleep(0.5)
        crowded = ordinary()
        stop.set()
        thread.join()
    return alone, crowded


def stalls(one: Door) -> tuple[int, int]:
    """Return by how many bytes lbproxy grows while a client, and a node, do not read 96 MiB."""
    grown = []
    for request, body in (
        (HEAD.replace(b"/ ", b"/stall ", 1) + b"\r\n", b""),
        (
            POST.replace(b"/ ", b"/stall ", 1) + b"Content-Length: 15000000\r\n\r\n",
            b"x" * 15_000_000,
        ),
    ):
        before = one.child.rss_bytes()
        one.child.forget_peak()
        with ExitStack() as stack:
            count = 1 if not body else -(-STALL_BYTES // len(body))
            for _ in range(count):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", one.port)))
                client.sendall(request)
                client.setblocking(False)
                deadline = time.monotonic() + 1.0
                position = 0
                while position < len(body) and time.monotonic() < deadline:
                    with suppress(BlockingIOError):
                        position += client.send(body[position : position + (1 << 16)])
            time.sleep(1)
            grown.append(max(0, one.child.peak_rss_bytes() - before))
    return grown[0], grown[1]


def main() -> int:
    """Returns: 0 where every aim holds, 3 otherwise."""
    raise_file_limit()
    node = Origin()
    node.start()
    core, _ = cores()
    missed = False
    with tempfile.TemporaryDirectory() as folder, door(Path(folder), node.port, core) as one:
        print(f"{'attack':38} {'block ms':>9} {'memory':>8} {'CPU':>8}   aims: 50 ms, 100, 100")
        for name, attack in ATTACKS.items():
            cost = measure(one, name, attack)
            print(f"{name:38} {cost.block_ms:9.1f} {cost.memory:8.2f} {cost.cpu:8.2f}", flush=True)
            missed |= cost.block_ms > LIMIT_BLOCK_MS or max(cost.memory, cost.cpu) > LIMIT_FACTOR
        alone, crowded = slow_clients(one)
        print(
            f"slowest of 300 requests: {alone:.1f} ms, beside {SLOW_CLIENTS} slow clients "
            f"{crowded:.1f} ms (aim: 100 ms more)"
        )
        down, up = stalls(one)
        print(
            f"growth while 96 MiB stall: {down / 2**20:.1f} MiB down, {up / 2**20:.1f} MiB up "
            f"(aim: 24 MiB)"
        )
        missed |= crowded - alone > 100 or max(down, up) > STALL_GROWTH
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
