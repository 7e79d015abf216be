"""A bounded fuzzer of the AJP/1.3 codec: `python -m tests.fuzz.ajp13 --cases 100000 --seed 1`.

Bends packets of a node and lets the reader have them whole and in pieces: it must refuse or give
the same events, hold to what the packets announce, and make heads that the HTTP/1 parser reads
alike. Bends heads of requests: what the encoder accepts must be read by a container as a person
would read the head, and whatever the HTTP/1 parser lets through must be accepted.
"""

from __future__ import annotations

import argparse
import re
import traceback
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from lbproxy.wire.ajp13_request import Ajp13Encoder, Facts
from lbproxy.wire.ajp13_response import BODY, END, GET_BODY, HEAD, NEED_MORE, Ajp13Reader
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_head import CHUNKED, GET, HeadLimits
from lbproxy.wire.http1_head import HEAD as HEAD_METHOD
from lbproxy.wire.http1_render import render
from lbproxy.wire.http1_response import ResponseParser
from lbproxy.wire.request_head import RequestHead
from tests.fuzz import corpus
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    FLUSH,
    Forward,
    decode,
    get_body,
    packet,
    send_body,
    send_headers,
)
from tests.fuzz.mutate import mutate
from tests.fuzz.readings import Refused, our_request

SHOWN = 20
LIMITS = HeadLimits(0, 64 << 10, 200)
PACKET_SIZE = 8192
PARSER = ResponseParser(HeadLimits(64 << 10, 128 << 10, 200))
ENCODER = Ajp13Encoder()

Event = tuple[int | str, ...]

# What goes no further, by name; beside it the framing, which is written anew.
DROPPED = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization te trailer upgrade expect "
    b"http2-settings transfer-encoding".split()
)
FACTS = Facts(
    remote_addr=b"192.0.2.44",
    remote_port=51514,
    local_addr=b"198.51.100.9",
    secure=True,
    tls_protocol=b"TLSv1.3",
    tls_cipher=b"TLS_AES_256_GCM_SHA384",
    tls_key_size=256,
    secret=b"s3cret",
    route=b"node1",
)
ATTRIBUTES: dict[str, bytes | int] = {
    "secret": b"s3cret",
    "route": b"node1",
    "cipher": b"TLS_AES_256_GCM_SHA384",
    "key_size": 256,
    "AJP_SSL_PROTOCOL": b"TLSv1.3",
    "AJP_REMOTE_PORT": b"51514",
    "AJP_LOCAL_ADDR": b"198.51.100.9",
}

_HEADS = [
    send_headers(200, [(1, b"text/html"), (3, b"5")], b"200"),
    send_headers(200, [], None),
    send_headers(302, [(6, b"https://a.example/"), (7, b"a=b; Path=/"), (7, b"c=d"), (3, b"0")]),
    send_headers(404, [(b"X-Frame-Options", b"DENY"), (4, b"now"), (b"Connection", b"x, close")]),
    send_headers(200, [(b"content-length", b" 5 "), (b"Transfer-Encoding", b"chunked")], b"OK"),
    send_headers(304, [(3, b"0"), (b"X_Y", b"\xe4")]),
    send_headers(204, []),
    send_headers(400, [(b"a" * 40, b"b" * 400)] * 8, b"Bad Request"),
]
ANSWERS = [
    first + head + between + end
    for head in _HEADS
    for first in (b"", get_body(8186) + FLUSH)
    for between in (
        b"",
        send_body(b"hello"),
        FLUSH + send_body(b"he") + get_body(9) + send_body(b"llo"),
    )
    for end in (END_REUSE, END_CLOSE, END_REUSE + CPONG)
]
_PIECES = [
    *(END_REUSE, END_CLOSE, FLUSH, CPONG, get_body(0), get_body(65535), send_body(b"x" * 300)),
    *(
        _HEADS[0],
        _HEADS[1],
        packet(b""),
        packet(b"\x07"),
        b"AB\xff\xff",
        b"AB",
        b"\x12\x34\x00\x00",
    ),
    *(b"\xa0\x03", b"\xa0\x07", b"\xa0\x0c", b"\xff\xff", b"\x00\x00", b"\x00\x0115", b"\x00\xc8"),
]
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_HOST = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
HEADS = [*corpus.GOOD_REQUESTS * 12, *(data for _, data, _ in corpus.BAD_REQUESTS)]


@dataclass(slots=True)
class Tally:
    """What became of the cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def bend(random: Random, seeds: list[bytes]) -> bytes:
    """Return an answer after a few changes: of bytes, of lengths, of whole packets."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randint(0, len(data))
        match random.randrange(7):
            case 0:
                data[at:at] = random.choice(_PIECES)
            case 1:
                del data[at : at + random.choice((1, 1, 2, 8))]
            case 2 if at < len(data):
                data[at] = random.choice((0, 1, 2, 3, 4, 5, 6, 9, 0xA0, 255, random.randrange(256)))
            case 3:
                data[at : at + 1] = random.choice((b"\r\n", b"\x00", b"\x7f", b" ", b"_"))
            case _:
                # Whole packets, so that what is bent gets far into the reader.
                packets = split(bytes(data))
                i = random.randrange(len(packets) + 1)
                match random.randrange(4):
                    case 0 if i < len(packets):
                        del packets[i]
                    case 1 if i < len(packets) and len(packets[i]) > 4:
                        packets[i] = _bend_payload(random, packets[i])
                    case _:
                        packets.insert(i, random.choice(_PIECES))
                data = bytearray(b"".join(packets))
    return bytes(data)


def _bend_payload(random: Random, data: bytes) -> bytes:
    """Change what is in a packet; its length stays true."""
    payload = bytearray(data[4:])
    at = random.randrange(len(payload))
    if random.random() < 0.5:
        payload[at] = random.choice((0, 1, 13, 45, 95, 0xA0, 255, random.randrange(256)))
    else:
        payload[at : at + random.randint(0, 2)] = random.choice(_PIECES)[-9:]
    return packet(bytes(payload))


def split(data: bytes) -> list[bytes]:
    """Return packets as their lengths say; what is no packet is one piece at the end."""
    found = []
    while data[:2] == b"AB" and len(data) >= 4:
        size = 4 + int.from_bytes(data[2:4], "big")
        found.append(data[:size])
        data = data[size:]
    return [*found, data] if data else found


def read(pieces: list[bytes], method_id: int) -> list[Event]:
    """Return the events, and the reason of a refusal at the end.

    Raises: AssertionError: a body that was not announced, or a head that is read differently.
    """
    reader = Ajp13Reader(LIMITS)
    reader.expect(method_id, True)
    events: list[Event] = []
    left = 0
    try:
        for piece in pieces:
            reader.feed(piece)
            while (kind := reader.next()) != NEED_MORE:
                if kind == HEAD:
                    head = reader.head
                    assert head is not None
                    text = b"".join(head.parts)
                    left = head.length
                    events.append((kind, head.status, left, repr(text), repr(head.set_cookies)))
                    _check_head(text, reader, method_id)
                elif kind == BODY:
                    assert reader.payload
                    assert left == CHUNKED or len(reader.payload) <= left
                    left -= len(reader.payload) if left > 0 else 0
                    events.append((kind, repr(reader.payload)))
                elif kind == GET_BODY:
                    assert 1 <= reader.wanted <= 65535
                    events.append((kind, reader.wanted))
                elif kind == END:
                    assert reader.missing == max(left, 0)
                    assert not (reader.reuse and (reader.missing or not reader.empty()))
                    # What comes behind it is not there yet where it comes in pieces.
                    events.append((kind, reader.missing, reader.reuse and piece is pieces[-1]))
                else:
                    events.append((kind,))
    except BadHead as error:
        events.append((error.failure.reason,))
        try:
            reader.next()
        except BadHead:
            pass
        else:
            raise AssertionError("it goes on after a refusal") from None
    return events


def _check_head(text: bytes, reader: Ajp13Reader, method_id: int) -> None:
    """The HTTP/1 parser must read what goes to the client as it was meant."""
    ours = reader.head
    assert ours is not None
    framing = b"Transfer-Encoding: chunked\r\n" if ours.length == CHUNKED else b""
    theirs = PARSER.parse(text + framing + b"\r\n", 0, method_id, True)
    assert theirs is not None
    assert (theirs.status, theirs.length, theirs.set_cookies) == (
        ours.status,
        ours.length,
        ours.set_cookies,
    )
    assert b"".join(theirs.parts) == text
    assert theirs.keep_alive
    assert not theirs.upgrade


def _response(data: bytes, random: Random, tally: Tally) -> str | None:
    method_id = random.choice((GET, GET, HEAD_METHOD))
    whole = read([data], method_id)
    last = whole[-1] if whole else ("nothing",)
    tally.outcomes[f"answer: {last[0] if isinstance(last[0], str) else 'accepted'}"] += 1
    if any(event[0] == END for event in whole):
        tally.outcomes["answer: to the end"] += 1
    cut = random.randint(0, len(data))
    size = random.choice((1, 2, 3, 5, 50))
    for pieces in (
        [data[:cut], data[cut:]],
        [data[at : at + size] for at in range(0, len(data), size)],
    ):
        apart = read(pieces, method_id)
        if _sure(apart) != _sure(whole):
            return f"in {len(pieces)} pieces: {apart}\n  whole: {whole}"
    return None


def _sure(events: list[Event]) -> list[Event]:
    """Without `reuse`, which depends on what is there already."""
    return [event[:2] if event[0] == END else event for event in events]


def naive(head: bytes) -> Forward:
    """Read a well-formed head as a person would: what a container is to read of its packet."""
    first, *lines = head[:-4].split(b"\r\n")
    method, target, _ = first.split(b" ")
    path, question, query = target.partition(b"?")
    expected = Forward(
        method=method.decode(),
        protocol=b"HTTP/1.1",
        uri=_escaped(path),
        remote_addr=b"192.0.2.44",
        secure=True,
        attributes=dict(ATTRIBUTES),
    )
    if question:
        expected.attributes["query"] = _escaped(query)
    chunked = False
    for line in lines:
        sent, _, value = line.partition(b":")
        name, value = sent.lower(), value.strip(b" \t")
        chunked = chunked or name == b"transfer-encoding"
        if name == b"host":
            value = value.removesuffix(b":")  # a port that is empty
            port = value.rpartition(b":")[2] if value[-1:] != b"]" and b":" in value else b""
            expected.server_port = int(port or 443)
            expected.server_name = value.removesuffix(b":" + port) if port else value
        if name not in DROPPED:
            expected.headers.append((sent, value))
    if chunked:
        expected.headers.append((b"transfer-encoding", b"chunked"))
    return expected


def _escaped(text: bytes) -> bytes:
    return b"".join(b"%%%02X" % c if c >= 128 else bytes((c,)) for c in text)


def _lower_names(forward: Forward) -> Forward:
    forward.headers = [(name.lower(), value) for name, value in forward.headers]
    return forward


def as_head(text: bytes, head: RequestHead) -> RequestHead:
    """Fill in a head of what may be no head, as a careless parser would: every line goes on, and
    of the framing only `Transfer-Encoding: chunked` is understood, once."""
    body = text[:-2] if text.endswith(b"\r\n\r\n") else text + b"\r"  # no end: a piece is left
    chunked = _CHUNKED.search(body)
    if chunked is not None:
        body = body[: chunked.start()] + body[chunked.end() - 2 :]
        head.length = CHUNKED
    first, line_end, _ = body.partition(b"\r\n")
    head.line_size = len(first + line_end)
    head.method, _, rest = first.partition(b" ")
    head.target = rest.partition(b" ")[0]
    head.path = head.target.partition(b"?")[0]
    host = _HOST.search(body)
    head.authority = host[1] if host is not None else b""
    head.parts = [body]
    return head


def difference(head: RequestHead, lines: bytes, text: bytes) -> str | None:
    """Return what a container reads of an accepted head, if it is something else than a person
    reads in its text. Raises: BadHead."""
    made = ENCODER.forward_request(head, lines, FACTS, PACKET_SIZE)
    if len(made) > PACKET_SIZE:
        return f"{len(made)} bytes"
    read_back, expected = _lower_names(decode(made)), _lower_names(naive(text))
    return None if read_back == expected else f"{read_back}\n  instead of {expected}"


def _request(data: bytes, random: Random, tally: Tally) -> str | None:
    try:
        found = difference(as_head(data, RequestHead()), b"", data)
        tally.outcomes["head: accepted"] += 1
    except BadHead as error:
        found = None
        tally.outcomes[f"head: {error.failure.reason}"] += 1
    return found or _rendered(data, tally)


def _rendered(data: bytes, tally: Tally) -> str | None:
    """What the HTTP/1 parser lets through is accepted, and read as the text for a node that speaks
    HTTP/1.1."""
    head = our_request(data)
    if head is None or isinstance(head, Refused) or head.refused_method:
        return None
    if not head.authority:
        head.authority = b"a.example"
        head.parts.append(b"Host: a.example\r\n")
    lines = b"X-Request-Id: 1\r\n"
    tally.outcomes["rendered head"] += 1
    try:
        return difference(head, lines, render(head, b"", b"1"))
    except BadHead as error:
        if error.failure.reason in ("head_too_large", "request_line_too_long", "too_many_fields"):
            return None
        return f"the HTTP/1 parser accepts it, the encoder does not: {error}"


def run(cases: int, seed: int) -> Tally:
    """Run the cases; the same seed makes the same cases."""
    random, tally = Random(seed), Tally()
    for _ in range(cases):
        if random.random() < 0.5:
            check, data = _response, bend(random, ANSWERS)
        else:
            check, data = _request, mutate(random, random.choice(HEADS), HEADS)
        try:
            found = check(data, random, tally)
        except Exception:  # whatever it is, it is what is looked for
            found = traceback.format_exc()
        if found is not None:
            tally.findings.append(f"{data!r}\n  {found}")
    return tally


def main() -> int:
    """Run what the command line asks for and print the tally; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description="fuzz the AJP/1.3 codec")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally = run(arguments.cases, arguments.seed)
    for name, count in sorted(tally.outcomes.items()):
        print(f"{count:8}  {name}")
    for finding in tally.findings[:SHOWN]:
        print(finding)
    print(f"{arguments.cases} cases, seed {arguments.seed}: {len(tally.findings)} findings")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
