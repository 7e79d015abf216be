"""Certificate, configuration and node processes of a demo.

The nodes hold the read end of a pipe from this process as their standard input: when it closes,
however this process ends, they end as well. A node that ends by itself is started again, after a
while in which its end can be seen.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from lbproxy.demo.private import PrivateFiles

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0
RESTART_S = 5.0  # two probes can fail in it
MAX_RESTARTS = 5  # of a node, before which each ran for less than QUICK_S
QUICK_S = 10.0

_CONFIG = """\
# Written by `lbproxy demo`; its key is in the memory of that process, and gone with it.
workers: 1
listeners:
  - name: https
    bind: "{host}:{https}"
    tls:
      certificates:
        - {{cert: server.pem, key: {key}}}
  - name: http
    bind: "{host}:{http}"
    redirect_to: https
pools:
  demo:
    profile: generic
    sticky: {{by: [route], cookie: AUTH_SESSION_ID}}
    health: {{path: /api/status, interval: 1s, timeout: 800ms, rise: 2, fall: 2}}
    hide: [/api]
    nodes:
{nodes}
limits: {{connections: 1000}}
routes:
  - {{path: /, pool: demo}}
admin: {{bind: "{host}:{admin}"}}
access_log: {{path: {log}}}
"""


class DemoError(Exception):
    """The demo cannot start; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the demo's proxy."""

    https: int = 8443
    http: int = 8080
    admin: int = 9090

    def check(self) -> None:
        """Raise DemoError that names every port that cannot be used, and its option."""
        wanted: dict[int, str] = {}
        wrong: list[str] = []
        for option in ("https", "http", "admin"):
            port: int = getattr(self, option)
            if port in wanted:
                wrong.append(
                    f"port {port} is wanted twice: by --{wanted[port]}-port and --{option}-port"
                )
                continue
            wanted[port] = option
            why = _why_not(port)
            if why is not None:
                wrong.append(
                    f"port {port} cannot be used ({why}): choose another by --{option}-port"
                )
        if wrong:
            raise DemoError("; ".join(wrong))


def _why_not(port: int) -> str | None:
    """Return why a port cannot be listened on, None if it can."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


@dataclass(slots=True)
class NodeProcess:
    """A running demo node."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    watcher: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its own address, not the proxy's."""
        return f"http://{HOST}:{self.port}"


@dataclass(slots=True)
class House:
    """Everything of a demo but the proxy; use it as `with`, which ends and reaps the nodes.

    Args: directory: of the files; node_count; on_end: called on a thread with name and return code
    of a node that ended by itself; on_return: called with its name and its process id once it runs
    again, or None if it will not.
    """

    directory: Path
    node_count: int
    on_end: Callable[[str, int], None]
    on_return: Callable[[str, int | None], None] = lambda name, pid: None
    nodes: list[NodeProcess] = field(default_factory=list)
    _private: PrivateFiles = field(init=False)
    _secret: Path = field(init=False)
    _key: Path = field(init=False)
    _starting: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> House:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._private = PrivateFiles(self.directory)
            self._key = make_certificate(self.directory, self._private)
            self._secret = self._private.add("node.secret", secrets.token_hex(32).encode())
            for number in range(1, self.node_count + 1):
                name = f"node{number}"
                self.nodes.append(NodeProcess(name, 0, _start_node(name, self._secret)))
            for node in self.nodes:
                node.port = _read_port(node)
                node.watcher = threading.Thread(
                    target=self._watch, args=(node,), name=f"watch {node.name}", daemon=True
                )
                node.watcher.start()
        except OSError as error:
            self._stop()
            raise DemoError(f"cannot prepare {self.directory}: {error}") from None
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop()

    def write_config(self, ports: Ports) -> Path:
        """Write the proxy's configuration and return its path."""
        nodes = "\n".join(
            f'      - {{name: {node.name}, url: "{node.url}"}}' for node in self.nodes
        )
        text = _CONFIG.format(
            host=HOST,
            https=ports.https,
            http=ports.http,
            admin=ports.admin,
            nodes=nodes,
            key=json.dumps(str(self._key)),
            log=json.dumps(str(self.directory.absolute() / "access.log")),
        )
        path = self.directory / "lbproxy.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def _watch(self, node: NodeProcess) -> None:
        quick = 0
        while True:
            began = time.monotonic()
            code = node.process.wait()
            if self._stopping.is_set():
                return
            self.on_end(node.name, code)
            quick = quick + 1 if time.monotonic() - began < QUICK_S else 0
            if quick >= MAX_RESTARTS:
                self.on_return(node.name, None)
                return
            if self._stopping.wait(RESTART_S) or not self._restart(node):
                return

    def _restart(self, node: NodeProcess) -> bool:
        """Start a node again at its port; return False if there is no more need."""
        old = node.process
        with self._starting:
            if self._stopping.is_set():
                return False
            node.process = _start_node(node.name, self._secret, node.port)
        _close_pipes(old)
        with contextlib.suppress(DemoError):  # its end comes next, and is reported
            _read_port(node)
            if not self._stopping.is_set():
                self.on_return(node.name, node.process.pid)
        return True

    def _stop(self) -> None:
        with self._starting:
            self._stopping.set()
        for node in self.nodes:
            if node.process.stdin is not None:
                node.process.stdin.close()
        for node in self.nodes:
            try:
                node.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
            if node.watcher is not None:
                node.watcher.join()
            _close_pipes(node.process)  # only now: its watcher may have been reading
        if hasattr(self, "_private"):
            self._private.close()


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def make_certificate(directory: Path, private: PrivateFiles) -> Path:
    """Write ca.pem and server.pem for localhost, 127.0.0.1 and ::1; return the key's path."""
    authority = trustme.CA(organization_name="lbproxy demo")
    leaf = authority.issue_cert("localhost", "127.0.0.1", "::1", common_name="lbproxy demo")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    (directory / "server.pem").write_bytes(chain)
    return private.add("server.key", leaf.private_key_pem.bytes())


def _start_node(name: str, secret: Path, port: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lbproxy", "demo-node", "--name", name, "--lifeline"]
    return subprocess.Popen(
        [*command, "--port", str(port), "--secret-file", str(secret.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for the proxy alone: it drains first
    )


def _read_port(node: NodeProcess) -> int:
    """Return the port that a node listens on, by its own word."""
    pipe = node.process.stdout
    assert pipe is not None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if not selector.select(START_TIMEOUT_S):
            raise DemoError(f"{node.name} did not start within {START_TIMEOUT_S:g} s")
    line = pipe.readline()
    try:
        return int(json.loads(line)["port"])
    except (ValueError, KeyError, TypeError):
        raise DemoError(f"{node.name} did not start: see its message above") from None
