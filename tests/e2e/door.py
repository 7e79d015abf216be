"""`lbproxy run` as an operator starts it: a configuration file, a process, its admin API."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from prometheus_client.parser import text_string_to_metric_families
from yaml import safe_dump

from tests.e2e.browser import Browser
from tests.e2e.child import Child, free_port

CHECKOUT = Path(__file__).resolve().parents[2]
START_S = 20.0
# So that what only one process knows shows, also where the machine has a single core.
WORKERS = int(os.environ.get("LBPROXY_E2E_WORKERS", "2"))
# Requests for this are answered by lbproxy itself: their lines divide the access log.
MARK = "/lbproxy-e2e-mark"
WORKER_PREFIX = 16  # digits of a request's id that are its worker's own
NOWHERE = {
    "health": False,
    "hide": [MARK],
    "nodes": [{"name": "none", "url": "http://127.0.0.1:1"}],
}


class Door:
    """A running lbproxy with a TLS listener, one that redirects to it, and the admin API.

    Args: pool: the pool's section of the configuration; sections: further sections.
    """

    def __init__(self, folder: Path, pool: Mapping[str, Any], **sections: Any) -> None:
        self.port, self.plain_port, self.admin_port = free_port(), free_port(), free_port()
        self._marks = 0
        self.origin = f"https://localhost:{self.port}"
        self.ca = folder / "ca.pem"
        self.log = folder / "access.log"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        (folder / "cert.pem").write_bytes(
            b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        )
        self.context = ssl.create_default_context(cafile=str(self.ca))
        config = {
            "workers": WORKERS,
            "listeners": [
                {
                    "name": "https",
                    "bind": f"127.0.0.1:{self.port}",
                    "tls": {"certificates": [{"cert": "cert.pem", "key": "key.pem"}]},
                },
                {
                    "name": "http",
                    "bind": f"127.0.0.1:{self.plain_port}",
                    "redirect_to": "https",
                },
            ],
            "pools": {"idp": dict(pool), "nowhere": NOWHERE},
            "routes": [{"path": MARK, "pool": "nowhere"}, {"path": "/", "pool": "idp"}],
            "admin": {"bind": f"127.0.0.1:{self.admin_port}"},
            "state_file": False,
            "access_log": {"path": str(self.log)},
        } | sections
        self._config = folder / "lbproxy.yaml"
        self._config.write_text(safe_dump(config))
        self.child = self.start()

    def start(self) -> Child:
        """Start it again after its end, on the same ports; wait until it serves."""
        command = [sys.executable, "-m", "lbproxy", "run", "-c", str(self._config)]
        self.child = Child("lbproxy", command, CHECKOUT)
        self.child.until(r"\bserving\b", START_S)
        return self.child

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()

    def browser(self) -> Browser:
        """Return a browser without a past."""
        return Browser(self.origin, self.context)

    def until_health(self, node: str, health: str, timeout_s: float = 30, after: int = 0) -> None:
        """Wait until lbproxy says that a node has this health, and every worker goes by it.

        Args: after: so many lines of its log were there before.
        """
        self.child.until(rf"node {node}: health \w+ -> {health}", timeout_s, after=after)
        # Control writes the log. The workers hear of it a moment later, but before they are asked
        # what they have counted.
        self.nodes()

    def nodes(self) -> list[dict[str, Any]]:
        """Return what the admin API says of the nodes."""
        address = f"http://127.0.0.1:{self.admin_port}/api/v1/nodes"
        with urllib.request.urlopen(address, timeout=10) as response:
            found: list[dict[str, Any]] = json.loads(response.read())["nodes"]
            return found

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        address = f"http://127.0.0.1:{self.admin_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as response:
            families = text_string_to_metric_families(response.read().decode())
            return sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name == name and labels.items() <= sample.labels.items()
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of lbproxy; those of the admin API get its address."""
        admin = ["--admin", f"http://127.0.0.1:{self.admin_port}"]
        return subprocess.run(
            [
                *(sys.executable, "-m", "lbproxy", *arguments),
                *(admin if arguments[0] in {"drain", "enable", "disable", "nodes"} else []),
            ],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def until(self, condition: Callable[[], bool], timeout_s: float = 30) -> None:
        """Wait until something is true that no event tells."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited in vain:\n{self.child.tail()}"
            time.sleep(0.05)

    @contextmanager
    def logged(self) -> Iterator[list[dict[str, Any]]]:
        """Yield a list that holds, after the block, the access log's lines from within it.

        They stand in the order in which the requests ended, which the file does not have: each
        worker writes its lines by itself, those of a quarter of a second together.
        """
        start = self._mark()
        lines: list[dict[str, Any]] = []
        yield lines
        end = self._mark()
        self._until_written()
        written = sorted(self._logged_lines(), key=lambda line: str(line["time"]))
        places = {line["path"]: number for number, line in enumerate(written)}
        within = written[places[start] + 1 : places[end]]
        lines += [line for line in within if not line["path"].startswith(MARK)]

    def _mark(self) -> str:
        """Put a line into the access log, by a request for what the pool hides; wait for it."""
        path = self._ask_for_mark()
        self.until(lambda: f'"{path}"' in self._log_text())
        return path

    def _until_written(self) -> None:
        """Wait until every worker has written whatever ended before.

        A worker's lines are in order, and ids of requests begin with a prefix of its own: so each
        has, once the log has a later mark of each. Which worker gets a connection is up to the
        kernel.
        """
        asked: set[str] = set()

        def all_have() -> bool:
            asked.add(self._ask_for_mark())
            lines = self._logged_lines()
            ids = {str(line["request_id"]) for line in lines if line["path"] in asked}
            return len({each[:WORKER_PREFIX] for each in ids}) >= WORKERS

        self.until(all_have)

    def _ask_for_mark(self) -> str:
        self._marks += 1
        path = f"{MARK}/{self._marks}"
        assert self.browser().request("GET", path).status == 404
        return path

    def _logged_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log_text().splitlines()]

    def _log_text(self) -> str:
        """The access log as far as its lines are whole."""
        text = self.log.read_text() if self.log.exists() else ""
        return text[: text.rfind("\n") + 1]


def nodes_of(addresses: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    """Return the configuration's nodes from urls by name."""
    return [{"name": name, "url": url} for name, url in addresses.items()]
