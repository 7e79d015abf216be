"""Commands of nodes: every parameter, every default, and what is refused how."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.mcmp import (
    METHODS,
    AnnouncedBalancer,
    AnnouncedNode,
    AppCommand,
    AppVerb,
    ConfigCommand,
    McmpCommand,
    McmpFault,
    PingAddress,
    PingCommand,
    QueryCommand,
    Refused,
    StatusCommand,
)
from lbproxy.wire.mcmp_request import read_command
from lbproxy.wire.mcmp_text import parse_form, render_form


def read(method: str, body: str = "", *, wildcard: bool = False) -> McmpCommand:
    return read_command(method, wildcard, body.encode())[0]


def fault(method: str, body: str | bytes, *, wildcard: bool = False) -> McmpFault:
    raw = body.encode() if isinstance(body, str) else body
    with pytest.raises(Refused) as caught:
        read_command(method, wildcard, raw)
    assert caught.value.message.startswith(f"{caught.value.fault.value}: ")
    return caught.value.fault


def test_config_as_wildfly_sends_it() -> None:
    body = (
        "JVMRoute=kc1&Host=192.0.2.21&Maxattempts=1&Port=8080&StickySessionForce=No"
        "&Type=http&ping=10"
    )
    assert read("CONFIG", body) == ConfigCommand(
        AnnouncedNode("kc1", host="192.0.2.21", port=8080, scheme="http", ping_s=10.0),
        AnnouncedBalancer(force=False),
    )


def test_defaults_are_those_of_httpd() -> None:
    command = read("CONFIG", "JVMRoute=kc1")
    assert command == ConfigCommand(
        AnnouncedNode("kc1", "", "localhost", 8009, "ajp", "off", 10, None, None, None, None),
        AnnouncedBalancer("mycluster", True, "JSESSIONID", "jsessionid", False, True, 0.0, 1),
    )


def test_every_parameter_of_config() -> None:
    body = (
        "jvmroute=kc1&BALANCER=MyCluster&StickySession=No&stickysessioncookie=AUTH_SESSION_ID"
        "&StickySessionPath=auth_session_id&StickySessionRemove=Yes&StickySessionForce=Yes"
        "&WaitWorker=3&Maxattempts=2&Domain=east&Host=KC1.Example.Test&Port=8443&Type=HTTPS"
        "&Reversed=true&flushpackets=On&flushwait=20&ping=500ms&smax=5&ttl=2mi&Timeout=1h"
    )
    assert read("CONFIG", body) == ConfigCommand(
        AnnouncedNode(
            *("kc1", "east", "kc1.example.test", 8443, "https", "on", 20, 0.5, 5, 120.0, 3600.0)
        ),
        AnnouncedBalancer(
            "mycluster", False, "AUTH_SESSION_ID", "auth_session_id", True, True, 3.0, 2
        ),
    )


@pytest.mark.parametrize(("text", "smax"), [("-1", None), ("0", 0), ("1", 1)])
def test_no_idle_connections_is_a_wish_as_well(text: str, smax: int | None) -> None:
    command = read("CONFIG", f"JVMRoute=a&smax={text}")
    assert isinstance(command, ConfigCommand)
    assert command.node.smax == smax


@pytest.mark.parametrize("text", ["auto", "AUTO", "Auto"])
def test_packets_may_be_flushed_by_themselves(text: str) -> None:
    command = read("CONFIG", f"JVMRoute=a&flushpackets={text}")
    assert isinstance(command, ConfigCommand)
    assert command.node.flush == "auto"


@pytest.mark.parametrize(
    ("given_as", "host"),
    [
        ("192.0.2.21", "192.0.2.21"),
        ("KC1.example.test", "kc1.example.test"),
        ("kc1.example.test.", "kc1.example.test"),
        ("%5B0:0:0:0:0:0:0:1%5D", "::1"),
        ("%5Bfe80::1%25eth0%5D", "fe80::1"),
        ("fe80::1%25eth0", "fe80::1"),
        ("%5B::ffff:127.0.0.1%5D", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("%5B::%5D", "::"),
    ],
)
def test_hosts(given_as: str, host: str) -> None:
    command = read("CONFIG", f"JVMRoute=a&Host={given_as}")
    assert isinstance(command, ConfigCommand)
    assert command.node.host == host


def test_the_last_value_wins_but_aliases_and_contexts_add_up() -> None:
    body = "JVMRoute=a&JVMRoute=b&Alias=x,y&Context=/1&alias=Y,y&context=/2,/1"
    assert read("ENABLE-APP", body) == AppCommand(
        AppVerb.ENABLE, "b", aliases=("x", "y", "Y"), contexts=("/1", "/2")
    )


def test_values_are_decoded_as_java_encodes_them() -> None:
    command = read(
        "ENABLE-APP", "JVMRoute=n.1%2Ba&Alias=default-host%2Clocalhost&Context=%2Fa+b%C3%A9%2B"
    )
    assert command == AppCommand(
        AppVerb.ENABLE, "n.1+a", aliases=("default-host", "localhost"), contexts=("/a bé+",)
    )


def test_parameters_that_are_not_known_are_left_alone() -> None:
    for method, extra in (
        ("CONFIG", "Nonsense"),
        ("STATUS", "Alias"),
        ("PING", "Load"),
        ("STOP-APP", "Load"),
    ):
        body = f"JVMRoute=a&{extra}=7" + ("&Alias=h&Context=/" if method == "STOP-APP" else "")
        _, ignored = read_command(method, False, body.encode())
        assert ignored == (extra.lower(),)


@pytest.mark.parametrize("verb", AppVerb)
def test_contexts_need_all_three_parameters(verb: AppVerb) -> None:
    whole = "JVMRoute=a&Alias=h&Context=/c"
    assert read(verb.value, whole) == AppCommand(verb, "a", aliases=("h",), contexts=("/c",))
    assert fault(verb.value, "Alias=h&Context=/c") is McmpFault.SYNTAX
    assert fault(verb.value, "JVMRoute=a&Context=/c") is McmpFault.SYNTAX
    assert fault(verb.value, "JVMRoute=a&Alias=h") is McmpFault.SYNTAX
    assert fault(verb.value, "JVMRoute=a&Alias=,&Context=/c") is McmpFault.SYNTAX


@pytest.mark.parametrize("verb", AppVerb)
def test_the_form_for_a_whole_node_needs_its_route_only(verb: AppVerb) -> None:
    assert read(verb.value, "JVMRoute=a", wildcard=True) == AppCommand(verb, "a", everything=True)
    assert fault(verb.value, "", wildcard=True) is McmpFault.SYNTAX


@pytest.mark.parametrize(
    ("body", "load"),
    [
        ("JVMRoute=a&Load=100", 100),
        ("JVMRoute=a&Load=1", 1),
        ("JVMRoute=a&Load=0", 0),
        ("JVMRoute=a&Load=-1", -1),
        ("JVMRoute=a&Load=-2", -2),
        ("JVMRoute=a", -2),
    ],
)
def test_loads(body: str, load: int) -> None:
    assert read("STATUS", body) == StatusCommand("a", load)


@pytest.mark.parametrize("load", ["101", "-3", "ten", "1.5", "9" * 5000, "٣"])
def test_loads_that_are_none(load: str) -> None:
    assert fault("STATUS", f"JVMRoute=a&Load={load}") is McmpFault.SYNTAX


def test_pings() -> None:
    assert read("PING") == PingCommand()
    assert read("PING", "JVMRoute=a&Scheme=http") == PingCommand(route="a")
    assert read("PING", "scheme=AJP&Host=[::1]&Port=8009") == PingCommand(
        address=PingAddress("ajp", "::1", 8009)
    )
    for body in ("Scheme=http", "Host=h&Port=1", "Scheme=http&Port=1", "Scheme=http&Host=h"):
        assert fault("PING", body) is McmpFault.SYNTAX
    assert fault("PING", "Scheme=ftp&Host=h&Port=1") is McmpFault.SYNTAX


@pytest.mark.parametrize("query", QueryCommand)
@pytest.mark.parametrize("wildcard", [False, True])
def test_questions_have_no_parameters(query: QueryCommand, wildcard: bool) -> None:
    assert read(query.value, "x=<y>", wildcard=wildcard) is query


@pytest.mark.parametrize("wildcard", [False, True])
def test_other_commands_do_not_care_for_the_form(wildcard: bool) -> None:
    assert read("STATUS", "JVMRoute=a&Load=5", wildcard=wildcard) == StatusCommand("a", 5)
    assert isinstance(read("CONFIG", "JVMRoute=a", wildcard=wildcard), ConfigCommand)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "JVMRoute=",
        "JVMRoute=a&Port=http",
        "JVMRoute=a&Port=",
        "JVMRoute=a&Alias=h",
        "JVMRoute=a&Context=/c",
        "JVMRoute=a&Alias=h&Context=c",
        "JVMRoute=a&ping=-1",
        "JVMRoute=a&ttl=soon",
        "JVMRoute=a&Timeout=1d",
        "JVMRoute=a&smax=x",
        "JVMRoute=a&Maxattempts=-1",
        "JVMRoute=a&flushpackets=maybe",
        "JVMRoute=a&StickySession=maybe",
        "JVMRoute=a&StickySessionCookie=a=b",
        "JVMRoute=a&Domain=a,b",
        "JVMRoute=a&Balancer=a,b",
        "JVMRoute=a,b",
        "JVMRoute=a;b",
        "JVMRoute=a+b",
        "JVMRoute=a%0Ab",
        "JVMRoute=%C3%A9",
        "JVMRoute=a&Host=a_b.example..test",
        "JVMRoute=a&Host=a/b",
        "JVMRoute=a&Host=1.2.3",
        "JVMRoute=a&Host=2130706433",
        "JVMRoute=a&Type=ht tp",
        "JVMRoute=%zz",
        "JVMRoute=a&Domain=%",
        "JVMRoute=a&Domain=%ff",
    ],
)
def test_what_can_never_be_valid_is_a_syntax_fault(body: str) -> None:
    assert fault("CONFIG", body) is McmpFault.SYNTAX


@pytest.mark.parametrize("character", [*"<>\"'\\\r\n\0\x1b\x7f", "\x85", "\u2028", "\u202e"])
def test_characters_that_no_console_and_no_log_should_see(character: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in character.encode())
    assert fault("CONFIG", f"JVMRoute=a&Domain=x{encoded}") is McmpFault.SYNTAX
    assert fault("CONFIG", f"JVMRoute=a&x{encoded}=1") is McmpFault.SYNTAX


def test_raw_bytes_that_are_no_text_are_a_syntax_fault() -> None:
    assert fault("CONFIG", b"JVMRoute=\xff") is McmpFault.SYNTAX


@pytest.mark.parametrize(
    "body",
    [
        "JVMRoute=a&Port=0",  # of a connector that does not listen yet
        "JVMRoute=a&Port=-1",
        "JVMRoute=a&Port=65536",
        f"JVMRoute={'a' * 256}",
        f"JVMRoute=a&Domain={'a' * 256}",
        f"JVMRoute=a&Alias={'a' * 256}&Context=/",
        f"JVMRoute=a&Alias=a&Context=/{'a' * 1024}",
    ],
)
def test_what_may_be_fine_one_day_is_a_fault_of_memory(body: str) -> None:
    assert fault("CONFIG", body) is McmpFault.MEM


def test_255_characters_are_fine_for_everything() -> None:
    long = "a" * 255
    command = read(
        "CONFIG",
        f"JVMRoute={long}&Domain={long}&Balancer={long}&StickySessionCookie={long}"
        f"&StickySessionPath={long}&Alias={long}&Context=/{long}",
    )
    assert isinstance(command, ConfigCommand)
    assert command.node.route == command.node.domain == command.balancer.cookie == long


@given(st.sampled_from(sorted(METHODS)), st.booleans(), st.binary(max_size=200))
def test_whatever_a_body_holds_it_is_read_or_refused(
    method: str, wildcard: bool, body: bytes
) -> None:
    with suppress(Refused):
        command, ignored = read_command(method, wildcard, body)
        assert repr(command).isprintable()
        assert repr(ignored).isprintable()


@given(st.text(max_size=30), st.text(max_size=30))
def test_forms_are_read_as_they_are_written(name: str, value: str) -> None:
    body = render_form([("Name", value)]).encode("ascii", "surrogatepass")
    try:
        assert parse_form(body) == [("Name", value)]
    except Refused:
        assert any(not each.isprintable() or each in "<>\"'\\" for each in value)


@given(st.binary(max_size=60).map(lambda raw: raw.replace(b"%", b"")))
def test_without_escapes_forms_say_the_same_as_with_one_behind_them(body: bytes) -> None:
    try:
        plain = parse_form(body)
    except Refused:
        with pytest.raises(Refused):
            parse_form(body + b"&a=%41")
    else:
        assert parse_form(body + b"&a=%41") == [*plain, ("a", "A")]
