"""What metrics tell of the settings in use: a hash, and what nodes are verified by."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from lbproxy.cluster.stats import CertificateEnd
from lbproxy.config.certificates import UNREADABLE
from lbproxy.config.schema import Config

_log = logging.getLogger("lbproxy.cluster")
_HASH_DIGITS = 16
# A file may be a system's whole bundle; those that end first are the ones to look at.
MAX_OF_A_FILE = 20


def hash_of(config: Config) -> str:
    """Return what differs if settings do, wherever they are written and in whatever order."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def authorities(config: Config) -> tuple[CertificateEnd, ...]:
    """Return the ends of the certificates in the files that nodes are verified by.

    Read once, as the files themselves are for connections to nodes. What cannot be read is left
    out: its nodes say so.
    """
    return tuple(end for file in dict.fromkeys(_files(config)) for end in _ends(file))


def _files(config: Config) -> Iterator[str]:
    for pool in config.pools.values():
        for node in pool.nodes:
            if node.tls.ca is not None:
                yield node.tls.ca
        if pool.discover is not None and pool.discover.tls.ca is not None:
            yield pool.discover.tls.ca
    if config.mcmp is not False and config.mcmp.node_tls.ca is not None:
        yield config.mcmp.node_tls.ca


def _ends(file: str) -> list[CertificateEnd]:
    try:
        certificates = x509.load_pem_x509_certificates(Path(file).read_bytes())
        ends = [
            CertificateEnd(
                "node_ca",
                file,
                f"{each.serial_number:x}",
                each.subject.rfc4514_string(),
                each.not_valid_after_utc.timestamp(),
            )
            for each in certificates
        ]
    except (OSError, *UNREADABLE) as error:
        _log.debug("the ends of the certificates in %s are not known: %s", file, error)
        return []
    return sorted(ends, key=lambda each: each.end)[:MAX_OF_A_FILE]
