"""Advertisements: the reference's vectors, what is rendered, and what a node makes of it."""

from __future__ import annotations

import re
from email.utils import formatdate
from ipaddress import ip_address
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lbproxy.wire.advertise import (
    MAX_DATAGRAM,
    MAX_SEQUENCE,
    Advertisement,
    Reaction,
    digest,
    http_date,
    judge,
    manager,
    render,
    salt,
    unreachable,
)

SERVER = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
AT = 1_704_164_645  # Tue, 02 Jan 2024 03:04:05 GMT
DATE = "Tue, 02 Jan 2024 03:04:05 GMT"
NO_KEY = salt(None)
OURS = Advertisement(SERVER, "192.0.2.10", 6666)
GOOD = render(OURS, 7, AT, NO_KEY)


@pytest.mark.parametrize(
    ("key", "salted", "expected"),
    [
        (None, "0" * 32, "6d6293c32ca9f9dc04b4be5a42772bba"),
        (
            b"s3cret-key",
            "e3a2205600879041d8d6f61d1f7385e1",
            "f113fb914747555b224c145d7998d851",
        ),
    ],
)
def test_the_digest_of_the_reference(key: bytes | None, salted: str, expected: str) -> None:
    assert salt(key).hex() == salted
    assert digest(salt(key), DATE, "7", str(SERVER)) == expected


def test_the_datagram_of_the_reference() -> None:
    assert GOOD.decode() == (
        "HTTP/1.0 200 OK\r\n"
        f"Date: {DATE}\r\n"
        "Sequence: 7\r\n"
        "Digest: 6d6293c32ca9f9dc04b4be5a42772bba\r\n"
        f"Server: {SERVER}\r\n"
        "X-Manager-Address: 192.0.2.10:6666\r\n"
        f"X-Manager-Url: /{SERVER}\r\n"
        "X-Manager-Protocol: http\r\n"
        "X-Manager-Host: 192.0.2.10\r\n"
        "\r\n"
    )


def test_ipv6_is_in_brackets() -> None:
    ours = Advertisement(SERVER, "2001:db8::1", 6666, "https")
    datagram = render(ours, 0, AT, NO_KEY)
    assert b"\r\nX-Manager-Address: [2001:db8::1]:6666\r\n" in datagram
    assert b"\r\nX-Manager-Protocol: https\r\n" in datagram
    verdict = judge(datagram, NO_KEY)
    assert (verdict.address, verdict.port) == ("2001:db8::1", 6666)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "::", "224.0.1.105", "255.255.255.255", "ff02::1", "fe80::1"),
        *("fe80::1%eth0", "2001:db8::1%1", "localhost", "[2001:db8::1]", "192.0.2.1:80", ""),
    ],
)
def test_what_no_node_could_use_is_refused(address: str) -> None:
    """A wildcard, a zone or a name would use up the id: nodes never look at it again."""
    with pytest.raises(ValueError, match=r"cannot be advertised|does not appear"):
        Advertisement(SERVER, address, 6666)


@pytest.mark.parametrize(("port", "scheme"), [(0, "http"), (65536, "http"), (6666, "ajp")])
def test_half_an_address_is_refused(port: int, scheme: str) -> None:
    with pytest.raises(ValueError, match="cannot be advertised"):
        Advertisement(SERVER, "192.0.2.10", port, scheme)


@pytest.mark.parametrize("sequence", [-1, MAX_SEQUENCE + 1])
def test_a_sequence_out_of_range_is_refused(sequence: int) -> None:
    with pytest.raises(ValueError, match="sequence"):
        render(OURS, sequence, AT, NO_KEY)


@given(st.integers(0, 253_402_300_799))
def test_dates_are_those_of_the_c_locale(seconds: int) -> None:
    assert http_date(seconds) == formatdate(seconds, usegmt=True)


keys = st.none() | st.binary(max_size=100)
addresses = (
    st.ip_addresses().filter(lambda ip: unreachable(ip) is None).map(str)
    # The longest ones that there are.
    | st.sampled_from(["2001:db8:1234:5678:9abc:def0:1234:5678", "255.255.255.254"])
)


@given(
    server=st.uuids(),
    address=addresses,
    port=st.integers(1, 65535),
    scheme=st.sampled_from(["http", "https"]),
    sequence=st.integers(0, MAX_SEQUENCE),
    seconds=st.integers(0, 253_402_300_799),
    key=keys,
    other=keys,
)
def test_whatever_is_rendered_a_node_accepts(
    server: UUID,
    address: str,
    port: int,
    scheme: str,
    sequence: int,
    seconds: int,
    key: bytes | None,
    other: bytes | None,
) -> None:
    datagram = render(Advertisement(server, address, port, scheme), sequence, seconds, salt(key))
    assert len(datagram) <= MAX_DATAGRAM
    verdict = judge(datagram, salt(key))
    assert verdict.reaction is Reaction.REGISTERS
    assert (verdict.server, verdict.address, verdict.port) == (str(server), address, port)
    ours = manager(address, port)
    again = judge(datagram, salt(key), known={str(server): ours})
    assert again.reaction is Reaction.KNOWS
    assert again.accepted
    assume(key != other)
    assert judge(datagram, salt(other)).reaction is Reaction.IGNORES


def changed(pattern: str, replacement: str) -> bytes:
    """The good datagram with a change, and the digest that fits it."""
    text = re.sub(pattern, replacement, GOOD.decode(), count=1)
    values = [re.search(rf"^{name}: (.*)\r$", text, re.M) for name in ("Date", "Sequence")]
    server = re.search(r"^Server: (.*)\r$", text, re.M)
    if server is not None and all(values):
        date, sequence = (found[1] for found in values if found)
        fits = digest(NO_KEY, date, sequence, server[1])
        text = re.sub(r"(?<=Digest: )[0-9a-f]{32}", fits, text)
    return text.encode("latin-1")


FILLER = "X-Filler: " + "x" * 400 + "\r\n"
MOVED = r"(Server: [^\r]*\r\n)(X-Manager-Address: [^\r]*\r\n)"


# What happens, and by which rule of the node's listener.
CASES = {
    "status 410": (r"200 OK", "410 Gone", Reaction.REGISTERS),
    "HTTP/1.1": (r"HTTP/1.0", "HTTP/1.1", Reaction.REGISTERS),
    "a date that is none": (DATE, "yesterday", Reaction.REGISTERS),
    "a sequence that is no number": (r"Sequence: 7", "Sequence: x", Reaction.REGISTERS),
    "no empty line at the end": (r"\r\n\r\n$", "", Reaction.REGISTERS),
    "other bytes in what the digest covers": (DATE, "m\xe4rz \x7f", Reaction.REGISTERS),
    "HTTP/2": (r"HTTP/1.0", "HTTP/2", Reaction.IGNORES),
    "a space first": (r"^", " ", Reaction.IGNORES),
    "no reason phrase": (r"200 OK", "200", Reaction.IGNORES),
    "status below 100": (r"200 OK", "99 OK", Reaction.IGNORES),
    "status no number": (r"200 OK", "OK 200", Reaction.BREAKS),
    "status too large": (r"200 OK", "99999999999 OK", Reaction.BREAKS),
    "a bare LF, so that Date is in the first line": (r"\r\n", "\n", Reaction.BREAKS),
    "no Server": (r"Server: [^\r]*\r\n", "", Reaction.IGNORES),
    "server in small letters": (r"Server:", "server:", Reaction.IGNORES),
    "no space after the colon": (r"Server: ", "Server:", Reaction.IGNORES),
    "no Date": (r"Date: [^\r]*\r\n", "", Reaction.BREAKS),
    "no Sequence": (r"Sequence: [^\r]*\r\n", "", Reaction.BREAKS),
    "no Digest": (r"Digest: [^\r]*\r\n", "", Reaction.BREAKS),
    "another digest": (r"Digest: .", "Digest: x", Reaction.IGNORES),
    "a longer digest": (r"(Digest: [^\r]*)", r"\g<1>00", Reaction.IGNORES),
    "address before Server": (MOVED, r"\2\1", Reaction.WASTES),
    "no address": (r"X-Manager-Address: [^\r]*\r\n", "", Reaction.WASTES),
    "an end before the address": (r"X-Manager-A", "\r\nX-Manager-A", Reaction.WASTES),
    "address beyond 512 bytes": (r"(?=X-Manager-Address)", FILLER, Reaction.WASTES),
    "all beyond 512 bytes": (r"(?=Date)", FILLER + FILLER, Reaction.IGNORES),
    "a name": (r"192.0.2.10:6666", "lb.example.test:6666", Reaction.WASTES),
    "a wildcard": (r"192.0.2.10:6666", "0.0.0.0:6666", Reaction.WASTES),
    "no port": (r"192.0.2.10:6666", "192.0.2.10", Reaction.WASTES),
    "IPv6 without brackets": (r"192.0.2.10:6666", "2001:db8::1:6666", Reaction.WASTES),
    "IPv6 with a zone": (r"192.0.2.10:6666", "[fe80::1%eth0]:6666", Reaction.WASTES),
    "IPv6 without a port": (r"192.0.2.10:6666", "[2001:db8::1]", Reaction.WASTES),
    "IPv6": (r"192.0.2.10:6666", "[2001:db8::1]:6666", Reaction.REGISTERS),
    "a port that is no number": (r":6666", ":http", Reaction.BREAKS),
    "an empty port": (r":6666", ":", Reaction.BREAKS),
    "a port too large": (r":6666", ":65536", Reaction.BREAKS),
    "a negative port": (r":6666", ":-1", Reaction.BREAKS),
    "brackets the wrong way": (r"192.0.2.10:6666", "]::1[:6666", Reaction.BREAKS),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_node_makes_of_it(name: str) -> None:
    pattern, replacement, reaction = CASES[name]
    datagram = changed(pattern, replacement)
    assert datagram != GOOD
    verdict = judge(datagram, NO_KEY)
    assert verdict.reaction is reaction, verdict
    assert verdict.reason
    assert verdict.accepted == (reaction is Reaction.REGISTERS)


def test_upper_case_digests_are_accepted() -> None:
    upper = re.sub(rb"(?<=Digest: )[0-9a-f]+", lambda found: found[0].upper(), GOOD)
    assert upper != GOOD
    assert judge(upper, NO_KEY).reaction is Reaction.REGISTERS


def test_an_id_keeps_the_address_that_came_first() -> None:
    known = {str(SERVER): "192.0.2.10:6666"}
    moved = GOOD.replace(b"192.0.2.10", b"192.0.2.11")
    verdict = judge(moved, NO_KEY, known)
    assert verdict.reaction is Reaction.KNOWS
    assert "192.0.2.10:6666" in verdict.reason
    forged = judge(moved, salt(b"key"), known)
    assert forged.reaction is Reaction.IGNORES


def test_an_id_that_came_without_an_address_is_lost() -> None:
    verdict = judge(GOOD, NO_KEY, {str(SERVER): ""})
    assert verdict.reaction is Reaction.IGNORES
    assert not verdict.accepted


@given(st.binary(max_size=600))
def test_no_bytes_raise(datagram: bytes) -> None:
    judge(datagram, NO_KEY)


@given(st.data())
def test_no_mutation_raises_or_leads_astray(data: st.DataObject) -> None:
    """Whatever becomes of a good datagram: no raise, and who registers gets a usable address."""
    text = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 8))
        text[at : at + length] = data.draw(st.binary(max_size=8) | st.sampled_from([b"\r\n", b":"]))
    verdict = judge(bytes(text), NO_KEY)
    if verdict.reaction is Reaction.REGISTERS:
        assert unreachable(ip_address(verdict.address)) is None
        assert 0 < verdict.port < 65536
