"""Why a connection failed, for the log."""

from __future__ import annotations

import errno
import os
import ssl

import pytest
import trustme

from lbproxy.proxy.transport.causes import cause


def test_no_number_of_the_system() -> None:
    error = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    assert cause(error) == "Connection refused"
    assert cause(ConnectionError("no words of the system")) == "no words of the system"
    assert cause(ValueError("no certificate holds this name")) == "no certificate holds this name"


def test_no_line_of_openssl() -> None:
    incoming = ssl.MemoryBIO()
    incoming.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    client = ssl.create_default_context().wrap_bio(
        incoming, ssl.MemoryBIO(), server_hostname="node.example"
    )
    with pytest.raises(ssl.SSLError) as raised:
        client.do_handshake()
    assert cause(raised.value) == "wrong version number"


def test_what_is_wrong_with_a_certificate() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("other.example").configure_cert(server)
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ours, theirs, server_hostname="node.example")
    node = server.wrap_bio(theirs, ours, server_side=True)
    for side in (client, node):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        client.do_handshake()
    told = cause(raised.value)
    assert told.startswith("certificate verify failed: ")
    assert "ssl.c" not in told
