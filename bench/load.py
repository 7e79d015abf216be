"""The load tools: how wrk, h2load and curl are run, and what they print.

wrk keeps a fixed number of connections busy; h2load opens new connections at a fixed rate; curl
moves one large body. A run in which anything went wrong is no measurement: the parsers raise.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

from bench.processes import BenchError, run_tool
from bench.setting import HOST, SESSION, cookie

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
PATH = f"/realms/demo/protocol/openid-connect/auth?client_id=shop&state={SESSION}"
_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one run of a load tool saw. Latencies are None where the tool does not tell."""

    requests: int
    seconds: float
    p50_ms: float | None
    p99_ms: float | None

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def parse_wrk(text: str) -> Loaded:
    """Read what `wrk --latency` printed.

    Raises: BenchError: there were socket errors or answers other than 2xx and 3xx.
    """
    for trouble in (r"Socket errors: .*", r"Non-2xx or 3xx responses: .*"):
        if found := re.search(trouble, text):
            raise BenchError(f"wrk: {found.group()}")
    done = _need(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h)\b", text, "wrk")
    return Loaded(
        requests=int(done[1]),
        seconds=float(done[2]) * _UNITS_MS[done[3]] / 1e3,
        p50_ms=_wrk_percentile("50%", text),
        p99_ms=_wrk_percentile("99%", text),
    )


def _wrk_percentile(name: str, text: str) -> float:
    found = _need(rf"^\s*{re.escape(name)}\s+([\d.]+)(us|ms|s|m|h)\s*$", text, "wrk")
    return float(found[1]) * _UNITS_MS[found[2]]


def parse_h2load(text: str) -> Loaded:
    """Read what h2load printed.

    Raises: BenchError: not every request was answered, or one not with 2xx.
    """
    done = _need(
        r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed",
        text,
        "h2load",
    )
    codes = _need(r"status codes: (\d+) 2xx", text, "h2load")
    total, succeeded = int(done[1]), int(done[2])
    if succeeded != total or int(codes[1]) != total or int(done[3]):
        raise BenchError(f"h2load: {done.group()}; {codes.group()}")
    spent = _need(r"finished in ([\d.]+)(us|ms|s|m)\b", text, "h2load")
    return Loaded(total, float(spent[1]) * _UNITS_MS[spent[2]] / 1e3, None, None)


def _need(pattern: str, text: str, tool: str) -> re.Match[str]:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise BenchError(f"{tool}: cannot read its answer: {text[:400]!r}")
    return found


@dataclass(frozen=True, slots=True)
class Client:
    """A client who asks for that host, with a session of that route; `owner` must answer it."""

    host: str
    route: str
    owner: str

    def fields(self) -> dict[str, str]:
        return {
            "Host": self.host,
            "User-Agent": AGENT,
            "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Accept-Language": "en-US,en;q=0.5",
            "Accept-Encoding": "gzip, deflate",
            "Cookie": cookie(self.route),
        }


def wrk_script(folder: Path, clients: Sequence[Client]) -> Path:
    """Write the script that lets wrk be those clients in turn; heads are made once."""
    heads = []
    for client in clients:
        lines = [f"GET {PATH} HTTP/1.1", *(f"{k}: {v}" for k, v in client.fields().items())]
        heads.append("".join(rf"{line}\r\n" for line in [*lines, ""]))
    table = ",\n".join(f'"{head}"' for head in heads)
    path = folder / "requests.lua"
    path.write_text(
        f"local heads = {{\n{table}\n}}\nlocal at = 0\n"
        "request = function()\n  at = at % #heads + 1\n  return heads[at]\nend\n"
    )
    return path


def run_wrk(url: str, script: Path, *, core: int, connections: int, seconds: int) -> Loaded:
    """Keep that many connections busy for that long."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    return parse_wrk(run_tool([*argv, "-s", str(script), url], core=core, timeout_s=seconds + 20))


def run_h2load(url: str, client: Client, *, core: int, rate: int, seconds: int) -> Loaded:
    """Open `rate` new connections a second; each makes a full handshake and one request."""
    total = rate * seconds
    argv = ["h2load", "--h1", f"-n{total}", f"-c{total}", f"-r{rate}", "-t1"]
    for name, value in client.fields().items():
        # Its own Host is overridden by this name only.
        argv += ["-H", f":host: {value}" if name == "Host" else f"{name}: {value}"]
    return parse_h2load(run_tool([*argv, url], core=core, timeout_s=seconds + 60))


def run_curl(url: str, client: Client, *, core: int, upload: Path | None, size: int) -> float:
    """Move one large body and return how many MiB a second that were.

    Args:
        upload: the file to send; None downloads.
        size: its length in bytes, which must arrive.
    """
    # No certificate check: it is the proxy's work that is measured, with a throw-away authority.
    argv = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--insecure",
        "--http1.1",
        "--max-time",
        "120",
    ]
    argv += ["-H", f"Host: {client.host}", "-H", f"Cookie: {cookie(client.route)}", "-H", "Expect:"]
    if upload is None:
        argv += ["--output", "/dev/null"]
    else:
        argv += ["--upload-file", str(upload)]
    argv += ["--write-out", r"\n%{size_download} %{size_upload} %{time_total}", url]
    answer, _, figures = run_tool(argv, core=core, timeout_s=130).rpartition("\n")
    downloaded, uploaded, seconds = figures.split()
    arrived = int(downloaded) if upload is None else int(answer)
    if arrived != size or (upload is not None and int(uploaded) != size):
        raise BenchError(f"curl: {arrived} of {size} bytes arrived")
    return size / (1 << 20) / float(seconds)


def verify(name: str, plain_port: int, tls_port: int, clients: Sequence[Client]) -> None:
    """See to it that a peer does the work: the owner answers, and knows the client and its scheme.

    Raises: BenchError: it does not; a comparison with it would be worth nothing.
    """
    lax = ssl.create_default_context()
    lax.check_hostname = False
    lax.verify_mode = ssl.CERT_NONE
    for scheme in ("http", "https"):
        connection = (
            HTTPConnection("127.0.0.1", plain_port, timeout=10)
            if scheme == "http"
            else HTTPSConnection("127.0.0.1", tls_port, timeout=10, context=lax)
        )
        for client in clients:
            forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example"}
            connection.request("GET", "/seen", headers=client.fields() | forged)
            answer = connection.getresponse()
            body = answer.read().decode()
            owner = answer.headers.get("X-Node")
            if [*body.split(), owner] != ["127.0.0.1", scheme, client.host, client.owner]:
                raise BenchError(
                    f"{name} does not do the work over {scheme}: {answer.status} {body!r}"
                    f" from {owner}, wanted {client.owner}"
                )
        connection.close()


def verify_tls_1_3(name: str, tls_port: int) -> None:
    """Raises: BenchError: the peer negotiates something else than TLS 1.3."""
    lax = ssl.create_default_context()
    lax.check_hostname = False
    lax.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", tls_port), timeout=10) as plain,
        lax.wrap_socket(plain, server_hostname=HOST) as secured,
    ):
        if secured.version() != "TLSv1.3":
            raise BenchError(f"{name} negotiates {secured.version()}")
