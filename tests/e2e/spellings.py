"""Spellings of a path that some server may read as another one, and who lets them through."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import suppress

from lbproxy.routing.paths import DoubtfulPath, Visibility
from lbproxy.wire.fields import BadHead, DropRules
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_request import RequestParser

ANSWER_S = 5.0
# What may stand for a slash, before a hidden path, within it, and behind it.
SLASHES = (
    rb"/ // /// \ \/ /\ %2f %2F %5c %252f %255c %c0%af %e0%80%af /./ /%2e/ /.;/ /;/ /;x/".split()
)
LEADS = (
    *SLASHES,
    *(rb"/x/.. /x/..; /x/%2e%2e /x/.%2e /x/%252e%252e /x%2f.. /x/..%2f /x\.. /x/;/..".split()),
    *(rb"//x //u@x:80 //[::1] ///x /\x /\/x /\\x /%2fx /%2f%2fx /%5cx /%5c%5cx /%252fx".split()),
    *(
        rb"/.//x /..//x /x/..//y //x/y/.. //x;y /;//x /http:/x /http://x /http:%2f%2fx http://x".split()
    ),
    *(rb"/%09 /%20 /%00 /%0d%0a /%u002f /.%00/ /..%00/ /%ef%bc%8f /%e2%81%84 /? /%3f /%23".split()),
)
NAMES = (
    *(rb"admin ADMIN %61dmin %41dmin %2561dmin adm%69n ad%6din adm%c4%b1n %c3%a0dmin".split()),
    *(rb"%ef%bd%81dmin api/status api//status api/./status api%2fstatus api\status".split()),
    *(rb"api;x/status api/x/../status api/%73tatus API/STATUS api/%c5%bftatus".split()),
)
TAILS = (
    *(
        b"",
        b"/",
        b"//",
        b"/x",
        b"/.",
        b"/x/..",
        b"/..",
        b"/../x",
        b"/%2e%2e/x",
        b";",
        b";x",
        b";/x",
    ),
    *(rb"%3b %3bx %2f %2fx \ \x %5c %5cx %00 %20 %09 . .. .json .x .x/ ;x.y .a.b %2ejson".split()),
    *(rb"%252ejson %3f %3fx %23 ?x ?/../x %0a %0d%0a / /;x /%20 %e2%80%8b *".split()),
)
PARSER = RequestParser(HeadLimits(8 << 10, 64 << 10, 128), DropRules((), ()))


def spellings() -> Iterator[bytes]:
    """Every lead and every tail with a few names, and every name plainly."""
    for lead, name in itertools.product(LEADS, (b"admin", b"api/status")):
        yield lead + (b"" if lead.endswith((b"/", b"\\", b"%2f", b"%5c")) else b"/") + name
        yield lead + name
    for name, tail in itertools.product(NAMES, TAILS):
        yield b"/" + name + tail
    for lead, tail in itertools.product(LEADS, TAILS[1::5]):
        yield lead + b"/%61dmin" + tail


def passes(rules: Visibility, target: bytes) -> bool:
    """Return True where lbproxy would forward a request for this target."""
    head = None
    with suppress(BadHead):
        head = PARSER.parse(b"GET " + target + b" HTTP/1.1\r\nHost: idp\r\n\r\n", 0, False)
    if head is None or head.end == 0:
        return False
    with suppress(DoubtfulPath):
        return not rules.hidden(head.path)
    return False


def reached(port: int, target: bytes, host: str = "127.0.0.1", sign: bytes = b"hidden") -> bool:
    """Return True where the server runs what is to be hidden: its answer holds the sign."""
    answer = b""
    with socket.create_connection((host, port), timeout=ANSWER_S) as one:
        one.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: idp\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError, TimeoutError):
            while piece := one.recv(65536):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return b" 200 " in head.partition(b"\r\n")[0] + b" " and sign in body
