"""The nodes of a measurement: as cheap as can be, on the core of the load.

nginx answers `/` with 1 KiB, `/seen` with what it was told about the client, and `/1GiB` with a
file of zeros; every answer names the node. Uploads go to `sink`, because nginx would write them
to disk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import free_ports, running
from bench.setting import Node

GIB = 1 << 30
BODY = "x" * 1024

_CONF = """\
worker_processes 1;
worker_rlimit_nofile {descriptors};
daemon off;
user root;
pid {folder}/origin.pid;
error_log {folder}/error.log crit;
events {{ worker_connections {descriptors}; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type application/octet-stream;
{servers}}}
"""
_SERVER = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    add_header X-Node {name};
    location / {{ return 200 "{body}"; }}
    location = /seen {{
      return 200 "$http_x_forwarded_for $http_x_forwarded_proto $http_x_forwarded_host";
    }}
    location = /1GiB {{ root {folder}; }}
  }}
"""


@contextmanager
def origin(folder: Path, *, core: int, descriptors: int) -> Iterator[tuple[Node, Node]]:
    """Run two nodes until the block ends.

    Args:
        descriptors: how many connections they may hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "1GiB").open("wb") as file:
        file.truncate(GIB)
    _read_once(folder / "1GiB")
    nodes = [Node(f"node{at}", port) for at, port in enumerate(free_ports(2), 1)]
    servers = "".join(
        _SERVER.format(port=node.port, name=node.name, body=BODY, folder=folder) for node in nodes
    )
    conf = folder / "origin.conf"
    conf.write_text(_CONF.format(folder=folder, descriptors=descriptors, servers=servers))
    with running(
        "origin",
        ["nginx", "-e", str(folder / "error.log"), "-c", str(conf)],
        core=core,
        ports=[node.port for node in nodes],
        log=folder / "origin.out",
    ):
        yield nodes[0], nodes[1]


def _read_once(path: Path) -> None:
    """Bring a file into the page cache, or the first download pays for all the others."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


@contextmanager
def sink(folder: Path, *, core: int) -> Iterator[Node]:
    """Run a node that swallows uploads until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "bench.sink", str(port)]
    with running("sink", argv, core=core, ports=[port], log=folder / "sink.out"):
        yield Node("node1", port)
