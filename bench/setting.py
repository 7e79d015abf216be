"""What a peer is told: where to listen, which nodes and hosts there are, where its files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme

COOKIE = "AUTH_SESSION_ID"
HOST = "idp.example.com"
# As a provider makes them: a random id without dots, then the route of the owner.
SESSION = "4f0e1c9a-6d2b-4a57-9f33-1b8f6f0c2d11"


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its name is its route. `scheme`: how it is spoken to, http or ajp."""

    name: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: the chain, the key, and both in one."""

    cert: Path
    key: Path
    both: Path


@dataclass(frozen=True, slots=True)
class Setting:
    """The same for every peer; each writes it down in its own language.

    `folder` is the peer's alone: its configuration, its access log, its temporary files.
    """

    folder: Path
    plain_port: int
    tls_port: int
    admin_port: int
    nodes: tuple[Node, ...]
    hosts: tuple[str, ...]
    certificate: Certificate
    workers: int = 1

    def write(self, name: str, text: str) -> Path:
        """Write a file of the peer's folder and return where it is."""
        path = self.folder / name
        path.write_text(text)
        return path

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"


def make_certificate(folder: Path) -> Certificate:
    """A P-256 certificate for `HOST`, as most sites have it today, from an authority of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    issued = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert(
        HOST, "*.example.com", "localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA
    )
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    made.cert.write_bytes(chain)
    made.key.write_bytes(issued.private_key_pem.bytes())
    made.both.write_bytes(chain + issued.private_key_pem.bytes())
    return made


def cookie(route: str) -> str:
    """The Cookie field of a client whose session the node with that route owns."""
    return f"theme=dark; {COOKIE}={SESSION}.{route}; locale=en"
