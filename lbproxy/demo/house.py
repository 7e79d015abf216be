"""Certificate, configuration and node processes of a demo.

The nodes hold the read end of a pipe from this process as their standard input: when it closes,
however this process ends, they end as well.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trustme

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0

_CONFIG = """\
# Written by `lbproxy demo`.
workers: 1
listeners:
  - name: https
    bind: "{host}:{https}"
    tls:
      certificates:
        - {{cert: server.pem, key: server.key}}
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
    """Where the proxy of the demo listens."""

    https: int = 8443
    http: int = 8080
    admin: int = 9090

    def check(self) -> None:
        """Raise DemoError that names the option where a port is taken."""
        taken: dict[int, str] = {}
        for option in ("https", "http", "admin"):
            port: int = getattr(self, option)
            if port in taken:
                raise DemoError(
                    f"port {port} is wanted twice: by --{taken[port]}-port and --{option}-port"
                )
            taken[port] = option
            with socket.socket() as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    trial.bind((HOST, port))
                except OSError as error:
                    why = error.strerror or str(error)
                    raise DemoError(
                        f"port {port} cannot be used ({why}): choose another by --{option}-port"
                    ) from None


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

    Args: directory: where the files go; node_count; on_end: called on a thread with name and
    return code of a node that ended by itself.
    """

    directory: Path
    node_count: int
    on_end: Callable[[str, int], None]
    nodes: list[NodeProcess] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> House:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            make_certificate(self.directory)
            secret = self.directory / "node.secret"
            write_private(secret, secrets.token_hex(32).encode())
            for number in range(1, self.node_count + 1):
                self.nodes.append(_start_node(f"node{number}", secret))
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
            log=json.dumps(str(self.directory.absolute() / "access.log")),
        )
        path = self.directory / "lbproxy.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def _watch(self, node: NodeProcess) -> None:
        code = node.process.wait()
        if not self._stopping.is_set():
            self.on_end(node.name, code)

    def _stop(self) -> None:
        self._stopping.set()
        for node in self.nodes:
            for pipe in (node.process.stdin, node.process.stdout):
                if pipe is not None:
                    pipe.close()
        for node in self.nodes:
            try:
                node.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
            if node.watcher is not None:
                node.watcher.join()


def make_certificate(directory: Path) -> None:
    """Write ca.pem, server.pem and server.key for localhost, 127.0.0.1 and ::1."""
    authority = trustme.CA(organization_name="lbproxy demo")
    leaf = authority.issue_cert("localhost", "127.0.0.1", "::1", common_name="lbproxy demo")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    (directory / "server.pem").write_bytes(chain)
    write_private(directory / "server.key", leaf.private_key_pem.bytes())


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user reads, also where it was there with other permissions."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _start_node(name: str, secret: Path) -> NodeProcess:
    command = [sys.executable, "-m", "lbproxy", "demo-node", "--name", name, "--lifeline"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--secret-file", str(secret.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for the proxy alone: it drains first
    )
    return NodeProcess(name, 0, process)


def _read_port(node: NodeProcess) -> int:
    """Return the port that a node says it listens on."""
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
