"""Request ids: distinct, short, and made of safe characters."""

from __future__ import annotations

import re

from lbproxy.proxy.request_ids import RequestIds


def test_ids_are_distinct_and_well_formed() -> None:
    ids = RequestIds(b"0123456789abcdef")
    made = [ids.make() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(re.fullmatch(rb"0123456789abcdef[0-9a-f]{8}", one) for one in made)
    assert made[:2] == [b"0123456789abcdef00000000", b"0123456789abcdef00000001"]
    assert made[256:258] == [b"0123456789abcdef00000100", b"0123456789abcdef00000101"]
