"""The admin API as the operator's commands see it: over TCP or a Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from lbproxy.config.secrets import can_be_sent

DEFAULT_ADMIN = "http://127.0.0.1:9090"
TIMEOUT_S = 5.0
RELOAD_TIMEOUT_S = 120.0  # it answers when the last worker has followed
UPGRADE_TIMEOUT_S = 180.0  # a trial, and a start
MAX_ANSWER = 64 << 20


class AdminApiError(Exception):
    """The admin API did not do as asked. The text is one line for the operator."""


class NothingChanged(Exception):
    """A configuration cannot be used. Args: problems: one a line."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as the admin API shows it.

    Args: addresses: those that its url's name leads to, none if it is an address; reported: what an
    announced node says of itself, "nothing" for others; contexts: paths and states, None if the
    node serves every path; for_s: how long its state has been what it is, None if the API does not
    say; max_in_flight: None for no limit; warning: a side effect of the last command; raw: all that
    the API said.
    """

    pool: str
    name: str
    route: str
    url: str
    addresses: tuple[str, ...]
    source: str
    health: str
    admin: str
    ejected: bool
    weight: int
    load: int | None
    in_flight: int
    max_in_flight: int | None
    reason: str
    domain: str
    reported: str
    quarantined: bool
    contexts: tuple[tuple[str, str], ...] | None
    for_s: float | None
    warning: str
    raw: dict[str, Any]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._timeout_s = timeout_s
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)


class AdminClient:
    """Asks the admin API, one connection a request.

    Args: address: http://host:port or unix:/path; token_file: None if no token is demanded.
    Raises: AdminApiError for an address or a file that cannot be used.
    """

    def __init__(self, address: str, token_file: str | None = None) -> None:
        self._address = address
        self._unix = address.removeprefix("unix:") if address.startswith("unix:/") else None
        try:
            parts = urlsplit(address)
            self._host, self._port = parts.hostname or "", parts.port or 80
        except ValueError:
            self._host = ""
        if self._unix is None and (not self._host or parts.scheme != "http"):
            raise AdminApiError(f"--admin {address}: write http://host:port or unix:/path")
        self._headers = {"Accept": b"application/json"}
        if token_file is not None:
            try:
                token = Path(token_file).read_bytes().strip()
            except OSError as error:
                why = error.strerror or error
                raise AdminApiError(f"--token-file {token_file}: {why}") from None
            if not can_be_sent(token):  # http.client would show it in its complaint
                raise AdminApiError(f"--token-file {token_file}: holds several lines")
            self._headers["Authorization"] = b"Bearer " + token

    def nodes(self) -> list[NodeView]:
        """Return every node. Raises: AdminApiError."""
        answer = self._ask("GET", "/api/v1/nodes")
        try:
            return [_view(node) for node in answer["nodes"]]
        except (KeyError, TypeError):
            raise self._strange() from None

    def reload(self, dry_run: bool) -> dict[str, Any]:
        """Have the configuration read again; return what the API says. Args: dry_run: only the
        plan. Raises: NothingChanged: the file cannot be used; AdminApiError."""
        path = f"/api/v1/reload?dry_run={'true' if dry_run else 'false'}"
        return self._document(self._ask("POST", path, RELOAD_TIMEOUT_S))

    def upgrade(self, program: str) -> dict[str, Any]:
        """Have the program replaced; return what the API says.

        Args: program: path of the other one, "" for what is there now where the running one was
        started from. Raises: NothingChanged: the running one goes on; AdminApiError.
        """
        path = f"/api/v1/upgrade?to={quote(program, safe='')}"
        return self._document(self._ask("POST", path, UPGRADE_TIMEOUT_S))

    def status(self) -> dict[str, Any]:
        """Return what the running lbproxy is. Raises: AdminApiError."""
        return self._document(self._ask("GET", "/api/v1/status"))

    def config(self) -> dict[str, Any]:
        """Return the settings in use, and of which lbproxy. Raises: AdminApiError."""
        answer = self._document(self._ask("GET", "/api/v1/config"))
        if not isinstance(answer.get("settings"), dict):
            raise self._strange()
        return answer

    def _document(self, answer: Any) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise self._strange()
        return answer

    def command(self, node: NodeView, command: str) -> NodeView:
        """Send drain, enable or disable; return the node's new state. Raises: AdminApiError."""
        path = "/".join(quote(part, safe="") for part in (node.pool, node.name, command))
        answer = self._ask("POST", f"/api/v1/nodes/{path}")
        try:
            return _view(answer)
        except (KeyError, TypeError):
            raise self._strange() from None

    def _ask(self, method: str, path: str, timeout_s: float = TIMEOUT_S) -> Any:
        connection = (
            _UnixConnection(self._unix, timeout_s)
            if self._unix is not None
            else http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        )
        try:
            connection.request(method, path, headers=self._headers)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AdminApiError(
                f"cannot reach the admin API at {self._address}: {why}; is lbproxy running with "
                "`admin:` in its configuration? --admin names another address"
            ) from None
        finally:
            connection.close()
        try:
            answer = json.loads(body)
        except ValueError:
            raise self._strange() from None
        if response.status == 401:
            raise AdminApiError(
                f"the admin API at {self._address} demands its token: name the file by --token-file"
            )
        if response.status == 422 and isinstance(answer, dict) and "problems" in answer:
            raise NothingChanged(tuple(map(str, answer["problems"])))
        if response.status != 200:
            detail = answer.get("detail") if isinstance(answer, dict) else None
            raise AdminApiError(f"the admin API refused ({response.status}): {detail or 'no word'}")
        return answer

    def _strange(self) -> AdminApiError:
        return AdminApiError(f"what answers at {self._address} is not lbproxy's admin API")


def _view(raw: dict[str, Any]) -> NodeView:
    return NodeView(
        pool=str(raw["pool"]),
        name=str(raw["name"]),
        route=str(raw["route"]),
        url=str(raw["url"]),
        addresses=tuple(map(str, raw.get("addresses", ()))),
        source=str(raw["source"]),
        health=str(raw["health"]),
        admin=str(raw["admin"]),
        ejected=bool(raw.get("ejected", False)),
        weight=int(raw["weight"]),
        load=None if raw["load"] is None else int(raw["load"]),
        in_flight=int(raw["in_flight"]),
        max_in_flight=raw.get("max_in_flight"),
        reason=str(raw.get("reason", "")),
        domain=str(raw.get("domain", "")),
        reported=str(raw.get("reported", "nothing")),
        quarantined=bool(raw.get("quarantined", False)),
        contexts=_contexts(raw.get("contexts")),
        for_s=float(raw["for_s"]) if "for_s" in raw else None,
        warning=str(raw.get("warning", "")),
        raw=raw,
    )


def _contexts(raw: Any) -> tuple[tuple[str, str], ...] | None:
    if raw is None:
        return None
    return tuple((str(each["path"]), str(each["state"])) for each in raw)
