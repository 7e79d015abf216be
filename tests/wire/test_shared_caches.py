"""Which answers a cache that serves many clients keeps."""

from __future__ import annotations

import pytest

from lbproxy.wire.shared_caches import kept_by_shared_caches

NOW = 1_800_000_000.0  # in January 2027
KEPT = [
    "Cache-Control: public, max-age=31536000",
    "Cache-Control: PUBLIC",
    "cache-control: max-age=2592000",
    "Cache-Control: s-maxage=60, max-age=0",
    "Cache-Control: no-transform\nCache-Control: s-maxage=60",
    'Cache-Control: max-age="60"',
    "Cache-Control: public, no-cache",
    "Expires: Fri, 01 Jan 2038 00:00:00 GMT",
    "CDN-Cache-Control: max-age=60\nCache-Control: no-store",
    "Surrogate-Control: max-age=60",
]
NOT_KEPT = [
    "",
    "X-A: public",
    "Cache-Control: no-store, must-revalidate, max-age=0",
    "Cache-Control: private, max-age=600",
    "Cache-Control: no-cache",
    "Cache-Control: max-age=0, must-revalidate",
    "Cache-Control: max-age=00",
    "Cache-Control: max-age=x",
    "Cache-Control: max-age=60, s-maxage=0",
    "Cache-Control: public\nCache-Control: no-store",
    "Expires: Thu, 01 Jan 1970 00:00:00 GMT",
    "Expires: 0",
    "Expires: Fri, 01 Jan 2038 00:00:00 GMT\nCache-Control: no-cache",
    "CDN-Cache-Control: no-store",
]


@pytest.mark.parametrize(
    ("lines", "kept"), [(each, True) for each in KEPT] + [(each, False) for each in NOT_KEPT]
)
def test_what_an_answer_says_itself(lines: str, kept: bool) -> None:
    block = b"".join(line.encode() + b"\r\n" for line in lines.splitlines())
    # As HTTP/1.1 has it, with the status line before it, and as AJP, apart from it.
    assert kept_by_shared_caches([b"HTTP/1.1 200 OK\r\n" + block], NOW) is kept
    assert kept_by_shared_caches([b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", block], NOW) is kept
