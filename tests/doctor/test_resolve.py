"""`--resolve`, as curl has it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from lbproxy.doctor.door import Door, DoorError, Origin
from lbproxy.doctor.exposure import check_plain_listener
from lbproxy.doctor.resolve import Pin, Pins, ascii_host
from tests.doctor.test_examine import run

if TYPE_CHECKING:
    from tests.doctor.conftest import House


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        ("idp.example.com:443:192.0.2.7", Pin("idp.example.com", 443, ("192.0.2.7",))),
        ("IDP.Example.com:80:[2001:db8::1]", Pin("idp.example.com", 80, ("2001:db8::1",))),
        ("a:1:2001:db8::1", Pin("a", 1, ("2001:db8::1",))),
        ("a:1:192.0.2.7,[::1]", Pin("a", 1, ("192.0.2.7", "::1"))),
        ("[::1]:443:127.0.0.1", Pin("::1", 443, ("127.0.0.1",))),
        ("*:443:127.0.0.1", Pin("*", 443, ("127.0.0.1",))),
        ("+a:1:127.0.0.1", Pin("a", 1, ("127.0.0.1",))),
        ("bücher.example:443:127.0.0.1", Pin("xn--bcher-kva.example", 443, ("127.0.0.1",))),
    ],
)
def test_pins(text: str, pin: Pin) -> None:
    assert Pin.parse(text) == pin


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a:443", "a:443:", "a:x:127.0.0.1", "a:0:127.0.0.1", "a:70000:127.0.0.1"),
        *("a:1:b.example", "a:1:[127.0.0.1]", "a:1:127.0.0.1,", "[x]:1:127.0.0.1", ":1:127.0.0.1"),
        *("-a:443", "a:1:[::1", "a:1:300.1.1.1"),
    ],
)
def test_no_pins(text: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT:ADDRESS"):
        Pin.parse(text)


def test_the_later_one_holds_and_a_name_more_than_any() -> None:
    pins = Pins.parse(["a:1:127.0.0.1", "a:1:127.0.0.2", "*:1:127.0.0.3", "a:2:127.0.0.4"])
    assert pins.addresses("a", 1) == ("127.0.0.2",)
    assert pins.addresses("b", 1) == ("127.0.0.3",)
    assert pins.addresses("a", 2) == ("127.0.0.4",)
    assert pins.addresses("a", 3) == ("a",)
    assert pins.names("a")
    assert not Pins.parse(["a:1:127.0.0.1"]).names("b")
    assert not pins.pinned("b", 2)
    assert ascii_host("IDP") == "idp"


async def test_the_name_stays_in_host_and_sni(house: House) -> None:
    seen: list[str] = []

    def note(request: web.Request) -> web.StreamResponse:
        seen.append(request.host)
        return web.Response()

    house.pages["/"] = note
    port = house.https.port
    origin = Origin("https", "idp.example.invalid", port)
    # The first address takes no connection: the next one is tried.
    pins = Pins.parse([f"idp.example.invalid:{port}:127.0.0.2,127.0.0.1"])
    door = Door(origin, house.ca, pins=pins)
    assert (await asyncio.to_thread(door.get, "/")).status == 200
    assert seen == [origin.authority]
    assert await asyncio.to_thread(door.certificate)
    why = await asyncio.to_thread(door.certificate_error)
    assert why is not None
    assert "idp.example.invalid" in why
    with pytest.raises(DoorError, match="does not resolve"):
        await asyncio.to_thread(Door(origin).get, "/")


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_an_ipv6_address() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        door = Door(Origin("http", "a.invalid", port), pins=Pins.parse([f"a.invalid:{port}:[::1]"]))
        assert (await asyncio.to_thread(door.get, "/")).status == 204


async def test_the_plain_listener_of_the_old_door_is_not_examined(house: House) -> None:
    pins = Pins.parse([f"localhost:{house.https.port}:127.0.0.1"])
    door = Door(house.https, pins=pins)
    outcome = await asyncio.to_thread(check_plain_listener, door, house.http.port)
    assert outcome.skipped is not None
    assert f"add localhost:{house.http.port}:ADDRESS" in outcome.skipped


async def test_a_redirect_to_a_port_that_is_left_out_leads_to_no_other_door(house: House) -> None:
    house.plain = lambda request: web.Response(status=308, headers={"Location": f"{house.https}/"})
    pins = Pins.parse([f"localhost:{house.http.port}:127.0.0.1"])
    report = await run(house, house.http, pins=pins)
    (finding,) = report.findings
    assert f"add localhost:{house.https.port}:ADDRESS" in finding.evidence
    report = await run(house, pins=pins)
    assert f"add localhost:{house.https.port}:ADDRESS" in report.findings[0].evidence
