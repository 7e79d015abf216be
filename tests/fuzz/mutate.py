"""Bending good and bad messages out of shape: bytes that some parser treats specially."""

from __future__ import annotations

from random import Random

FRAGMENTS: list[bytes] = [
    *(bytes([c]) for c in (0, 9, 10, 11, 12, 13, 27, 32, 34, 35, 43, 44, 45, 46, 58, 59, 64, 95)),
    *(bytes([c]) for c in (47, 48, 49, 127, 128, 133, 160, 173, 255)),
    *b"\r\n|\r\n\r\n|\r\r\n|\n\r|\n\n|\r\n |\r\n\t|: |:| :|  |0\r\n\r\n".split(b"|"),
    *b"Content-Length|content_length|Transfer-Encoding|Transfer.Encoding|Host|Connection".split(
        b"|"
    ),
    *b"chunked|identity|close|keep-alive|upgrade|websocket|100-continue|a.example".split(b"|"),
    *b"\r\nContent-Length: 5|\r\nTransfer-Encoding: chunked|\r\nHost: b.example|".split(b"|")[:-1],
    *b"\r\nConnection: x-hop, te|\r\nExpect: 100-continue|\r\nX-Forwarded-For: 1".split(b"|"),
    *b" HTTP/1.1\r\n| HTTP/1.0\r\n|GET |POST |HEAD |http://b:80/x|*|/..;/|%00|?x".split(b"|"),
    *b"5|0|00|0x5|+5|-1|5, 5|ffffffffffffffff|9223372036854775807|;ext=1|;\n".split(b"|"),
    *b"200|204|304|100|101|HTTP/1.1 200 OK\r\n".split(b"|"),
]

# Whole lines, since a message that is still well formed gets furthest into the parsers.
LINES: list[bytes] = [
    *b"Content-Length: 5|content-length:0|Content-Length: 0005 |Transfer-Encoding: chunked".split(
        b"|"
    ),
    *b"Host: b.example|Host:\t[::1]:80 |Connection: close|Connection: Keep-Alive".split(b"|"),
    *b"Connection: x-hop , x-other,,|X-Hop: 1|x-other:2|Connection:|Connection: te,upgrade".split(
        b"|"
    ),
    *b"Upgrade: websocket|Upgrade: h2c|TE: trailers|Trailer: x|Keep-Alive: timeout=5".split(b"|"),
    *b"X-Forwarded-For: 1|x_forwarded_for: 1|X.Forwarded-Proto: x|Forwarded: for=1".split(b"|"),
    *b"Cookie: a=b|cookie:|X-Request-Id: abc|X-Request-ID: \xff|Expect:100-continue".split(b"|"),
    *b"Set-Cookie: a=b; Path=/|Proxy-Connection: x|Proxy-Authorization: x|X_Y: z|X.Y:".split(b"|"),
    *b"X: \t a \t b \t |X: :|X: \xa0\x85|x~!#$%&'*+-^`|A: HTTP/1.1|HTTP2-Settings: x".split(b"|"),
    *b"5|hello|0|5;ext=1|X-Sum: 1|HTTP/1.1 200 OK|GET /b HTTP/1.1|".split(b"|"),
]


def mutate(random: Random, message: bytes, others: list[bytes]) -> bytes:
    """Return `message` after one to four small changes; `others` lend pieces of themselves."""
    data = bytearray(message)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        at = random.randint(0, len(data))
        match random.randrange(12):
            case 0 | 1:
                data[at:at] = random.choice(FRAGMENTS)
            case 2:
                data[at : at + random.randint(1, 4)] = random.choice(FRAGMENTS)
            case 3:
                del data[at : at + random.choice((1, 1, 2, 8))]
            case 4 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 5:
                end = random.randint(at, min(len(data), at + 40))
                data[at:at] = data[at:end]
            case 6:
                other = random.choice(others)
                begin = random.randint(0, len(other))
                data[at:at] = other[begin : begin + random.randint(1, 40)]
            case 7 | 8 | 9 | 10:
                lines = bytes(data).split(b"\r\n")
                at = random.randint(1, max(1, len(lines) - 2))
                lines[at:at] = [random.choice(LINES)]
                data = bytearray(b"\r\n".join(lines))
            case _:
                lines = bytes(data).split(b"\r\n")
                i, j = random.randrange(len(lines)), random.randrange(len(lines))
                lines[i], lines[j] = lines[j], lines[i]
                data = bytearray(b"\r\n".join(lines))
    return bytes(data)
