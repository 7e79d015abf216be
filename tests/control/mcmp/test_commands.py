"""Every command and what is answered: the tables of the MCMP reference, section 4."""

from __future__ import annotations

import asyncio

import pytest

from lbproxy.cluster.contexts import Context, ContextState, VirtualHost
from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.node import Admin, Reported, Source
from lbproxy.control.mcmp import commands as mcmp_commands
from lbproxy.control.mcmp.access import Access
from lbproxy.control.mcmp.commands import EMPTIED_S
from lbproxy.wire.mcmp import METHODS, McmpFault
from lbproxy.wire.mcmp_http import McmpRequest
from tests.control.mcmp.hall import PEER, Hall, Make
from tests.java_node import JavaNode, is_ok, parse_info, requests_of

ENABLED, DISABLED, STOPPED = ContextState.ENABLED, ContextState.DISABLED, ContextState.STOPPED


async def test_every_command_may_come_twice(hall: Hall) -> None:
    node = JavaNode("kc1", 8080)
    commands = [*node.reset(""), node.status(50), node.app("STOP", node.hosts[0], "/")]
    commands += [node.app("REMOVE", node.hosts[0], "/"), node.everything("REMOVE")]
    for method, target, parameters in commands:
        body = "&".join(f"{name}={value}" for name, value in parameters)
        first = await hall.done(method, body, target)
        after = hall.registry.snapshot()
        assert await hall.done(method, body, target) == first
        if method != "STATUS":
            assert hall.registry.snapshot() is after


async def test_config_is_answered_by_an_empty_body(hall: Hall) -> None:
    assert await hall.done("CONFIG", "JVMRoute=kc1&Host=127.0.0.1&Port=1&Type=http") == ""
    assert hall.node().quarantined
    assert not hall.node().usable


async def test_contexts_that_come_with_config_begin_stopped(hall: Hall) -> None:
    await hall.done("CONFIG", "JVMRoute=kc1&Host=127.0.0.1&Type=http&Alias=h&Context=/a,/b")
    assert hall.node().virtual_hosts == (
        VirtualHost(("h",), (Context("/a", STOPPED), Context("/b", STOPPED))),
    )


@pytest.mark.parametrize(
    ("verb", "state"), [("ENABLE", ENABLED), ("DISABLE", DISABLED), ("STOP", STOPPED)]
)
async def test_contexts_come_into_being_in_every_state(
    hall: Hall, verb: str, state: ContextState
) -> None:
    await hall.ready()
    body = await hall.done(f"{verb}-APP", "JVMRoute=kc1&Alias=i&Context=/new")
    assert body == (
        "Type=STOP-APP-RSP&JvmRoute=kc1&Alias=i&Context=/new&Requests=0\n" if verb == "STOP" else ""
    )
    assert hall.node().virtual_hosts == (
        VirtualHost(("h", "i"), (Context("/auth", ENABLED), Context("/new", state))),
    )


@pytest.mark.parametrize("target", ["/*", "*", "/lb/*"])
@pytest.mark.parametrize(
    ("verb", "state"), [("ENABLE", ENABLED), ("DISABLE", DISABLED), ("STOP", STOPPED)]
)
async def test_the_form_for_the_whole_node(
    hall: Hall, verb: str, state: ContextState, target: str
) -> None:
    await hall.ready()
    await hall.done("STOP-APP", "JVMRoute=kc1&Alias=x&Context=/x")
    assert await hall.done(f"{verb}-APP", "JVMRoute=kc1", target) == ""
    hosts = hall.node().virtual_hosts
    assert hosts is not None
    assert {context.state for host in hosts for context in host.contexts} == {state}


async def test_stop_counts_what_is_at_the_node_once_no_worker_sends_more(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcmp_commands, "STOP_LINGER_S", 0)
    await hall.ready()
    hall.plane.requests = {"/auth": 3, "/b": 4}
    body = await hall.done("STOP-APP", "JVMRoute=kc1&Alias=h&Context=/auth,/b")
    assert requests_of(body) == 7
    assert hall.plane.seen == [STOPPED, STOPPED]


async def test_stop_does_not_count_a_request_whose_answer_is_just_coming(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node asks when the request has ended there: before its answer is here."""
    monkeypatch.setattr(mcmp_commands, "STOP_LINGER_S", 30)
    await hall.ready()
    hall.plane.requests = {"/auth": 1}
    asked = asyncio.create_task(hall.done("STOP-APP", "JVMRoute=kc1&Alias=h&Context=/auth"))
    await hall.plane.asked.wait()
    hall.plane.requests.clear()
    assert requests_of(await asked) == 0


async def test_what_takes_a_node_out_of_traffic_is_published_before_the_answer(hall: Hall) -> None:
    await hall.ready()
    for method, body, target in (
        ("DISABLE-APP", "JVMRoute=kc1&Alias=h&Context=/auth", "/"),
        ("STATUS", "JVMRoute=kc1&Load=-1", "/"),
        ("REMOVE-APP", "JVMRoute=kc1&Alias=h&Context=/auth", "/"),
        ("REMOVE-APP", "JVMRoute=kc1", "/*"),
    ):
        hall.plane.published.clear()
        await hall.done(method, body, target)
        assert hall.plane.published[-1] is hall.registry.snapshot()


async def test_removal(hall: Hall) -> None:
    await hall.ready()
    for body in (
        "JVMRoute=kc1&Alias=nobody&Context=/auth",
        "JVMRoute=kc1&Alias=h&Context=/unknown",
        "JVMRoute=nobody&Alias=h&Context=/auth",
    ):
        before = hall.registry.snapshot()
        assert await hall.done("REMOVE-APP", body) == ""
        assert hall.registry.snapshot() is before
    assert await hall.done("REMOVE-APP", "JVMRoute=nobody", "/*") == ""
    assert await hall.done("REMOVE-APP", "JVMRoute=kc1", "/*") == ""
    assert hall.members.get("kc1") is None


@pytest.mark.parametrize("method", ["ENABLE-APP", "DISABLE-APP", "STOP-APP"])
async def test_a_route_that_is_not_known_must_announce_itself(hall: Hall, method: str) -> None:
    assert await hall.fault(method, "JVMRoute=x&Alias=h&Context=/") is McmpFault.MEM
    assert await hall.fault(method, "JVMRoute=x", "/*") is McmpFault.MEM
    assert await hall.fault("STATUS", "JVMRoute=x&Load=1") is McmpFault.MEM
    assert await hall.fault("PING", "JVMRoute=x") is McmpFault.MEM


async def test_a_node_of_the_file_is_none_that_announces_itself(hall: Hall) -> None:
    assert await hall.fault("STATUS", "JVMRoute=node1&Load=1") is McmpFault.MEM
    assert await hall.fault("DISABLE-APP", "JVMRoute=node1", "/*") is McmpFault.MEM
    assert await hall.done("REMOVE-APP", "JVMRoute=node1", "/*") == ""
    config = "JVMRoute=node1&Host=127.0.0.1&Port=1&Type=http"
    assert await hall.fault("CONFIG", config) is McmpFault.MEM
    assert [node.route for node in hall.registry.nodes()] == ["node1"]
    assert parse_info(await hall.done("INFO")) == {}


@pytest.mark.parametrize(
    ("method", "body", "target"),
    [
        ("CONFIG", "", "/"),
        ("CONFIG", "JVMRoute=kc1&Port=x", "/"),
        ("CONFIG", "JVMRoute=kc1&Type=ws", "/"),
        ("CONFIG", "JVMRoute=kc1&Alias=h", "/"),
        ("ENABLE-APP", "JVMRoute=kc1&Context=/", "/"),
        ("REMOVE-APP", "JVMRoute=kc1&Alias=h", "/"),
        ("REMOVE-APP", "", "/*"),
        ("STATUS", "Load=1", "/"),
        ("STATUS", "JVMRoute=kc1&Load=101", "/"),
        ("STATUS", "JVMRoute=kc1&Load=many", "/"),
        ("PING", "Host=h", "/"),
        ("CONFIG", "JVMRoute=%3Cscript%3E", "/"),
    ],
)
async def test_what_is_hopeless_is_a_syntax_fault(
    hall: Hall, method: str, body: str, target: str
) -> None:
    await hall.ready()
    assert await hall.fault(method, body, target) is McmpFault.SYNTAX


async def test_status_is_answered_from_what_is_known(hall: Hall) -> None:
    await hall.ready()
    body = await hall.done("STATUS", "JVMRoute=kc1&Load=88")
    assert body == "Type=STATUS-RSP&JVMRoute=kc1&State=OK&id=77\n"
    assert hall.node().load == 88
    assert await hall.done("STATUS", "JVMRoute=kc1") == body
    assert hall.node().load == 88
    await hall.done("STATUS", "JVMRoute=kc1&Load=0")
    assert hall.node().reported is Reported.STANDBY
    hall.registry.observe_probe("idp", "kc1", ProbeResult(Outcome.FAIL, ""), hall.now)
    assert "State=NOTOK" in await hall.done("STATUS", "JVMRoute=kc1&Load=5")


@pytest.mark.parametrize("body", ["JVMRoute=kc1&Load=7", "JVMRoute=x&Load=7", "Load=7", "%"])
async def test_status_is_the_same_whether_something_comes_behind_it_or_not(
    hall: Hall, body: str
) -> None:
    await hall.ready()
    request = McmpRequest("STATUS", "/", (), body.encode())
    counted = hall.commands.counts.copy()
    at_once = hall.commands.answer_at_once(request, PEER)
    again = await hall.commands.handle(request, PEER)
    assert at_once == again
    assert (hall.commands.counts - counted).total() == 2


async def test_info_is_read_by_nodes_and_dump_by_people(hall: Hall) -> None:
    assert await hall.done("INFO") == ""
    assert await hall.done("DUMP", "", "/*") == ""
    await hall.ready()
    await hall.ready("kc2", 8081)
    assert set(parse_info(await hall.done("INFO"))) == {"kc1", "kc2"}
    await hall.done("REMOVE-APP", "JVMRoute=kc1", "/*")
    info = await hall.done("INFO")
    assert set(parse_info(info)) == {"kc2"}
    assert "Node: [2],Name: kc2," in info
    assert info == await hall.done("INFO", "", "/*")
    dump = await hall.done("DUMP", "", "/*")
    assert [line.split(":")[0] for line in dump.splitlines()] == [
        *("balancer", "node", "host", "host", "context")
    ]
    assert (await hall.done("VERSION")).endswith(", protocol: 0.2.1\n")


async def test_pings_reach_what_is_registered_and_nothing_else(hall: Hall) -> None:
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await hall.ready("kc1", port)
        await hall.ready("kc2", 1)
        assert await hall.done("PING") == "Type=PING-RSP&State=OK&id=77\n"
        body = await hall.done("PING", "JVMRoute=kc1")
        assert body == "Type=PING-RSP&JVMRoute=kc1&State=OK&id=77\n"
        assert seen[0].startswith(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)
        assert not is_ok(await hall.done("PING", "JVMRoute=kc2"))
        address = f"Scheme=http&Host=127.0.0.1&Port={port}"
        assert is_ok(await hall.done("PING", address))
        assert len(seen) == 2
        await hall.done("REMOVE-APP", "JVMRoute=kc1", "/*")
        assert not is_ok(await hall.done("PING", address))
        assert len(seen) == 2


async def test_contexts_that_are_not_wanted_are_let_go_by(make: Make) -> None:
    hall = make(contexts=["/auth"])
    await hall.ready()
    for verb in ("ENABLE", "DISABLE", "STOP", "REMOVE"):
        body = await hall.done(f"{verb}-APP", "JVMRoute=kc1&Alias=h&Context=/wildfly-services,/")
        assert requests_of(body) == 0
    assert hall.node().virtual_hosts == (VirtualHost(("h", "i"), (Context("/auth", ENABLED),)),)
    unknown = "JVMRoute=x&Alias=h&Context=/other"
    assert await hall.fault("ENABLE-APP", unknown) is McmpFault.MEM


async def test_limits_are_no_ground_to_give_up(make: Make) -> None:
    hall = make(max={"nodes": 1, "contexts": 2, "aliases": 2})
    await hall.ready()
    other = "JVMRoute=kc2&Host=127.0.0.1&Port=9&Type=http"
    assert await hall.fault("CONFIG", other) is McmpFault.MEM
    assert await hall.fault("ENABLE-APP", "JVMRoute=kc1&Alias=h&Context=/b,/c") is McmpFault.MEM
    assert await hall.fault("ENABLE-APP", "JVMRoute=kc1&Alias=h,j&Context=/b") is McmpFault.MEM
    assert await hall.fault("ENABLE-APP", "JVMRoute=kc1&Alias=x&Context=/b,/c") is McmpFault.MEM


async def test_a_node_elsewhere_is_refused_with_its_reason(hall: Hall) -> None:
    answer = await hall.say("CONFIG", "JVMRoute=kc1&Host=192.0.2.1&Type=http")
    assert answer.fault is McmpFault.MEM
    assert "mcmp.node_networks" in answer.message


async def test_a_node_that_removed_everything_is_asked_for_its_contexts_once(hall: Hall) -> None:
    config = "JVMRoute=kc1&Host=127.0.0.1&Port=8080&Type=http"
    await hall.ready()
    await hall.done("REMOVE-APP", "JVMRoute=kc1", "/*")
    await hall.done("CONFIG", config)
    answer = await hall.say("STATUS", "JVMRoute=kc1&Load=50")
    assert answer.fault is McmpFault.MEM
    await hall.done("STATUS", "JVMRoute=kc1&Load=50")
    await hall.ready()
    await hall.done("REMOVE-APP", "JVMRoute=kc1", "/*")
    hall.now += EMPTIED_S
    await hall.done("CONFIG", config)
    await hall.done("STATUS", "JVMRoute=kc1&Load=50")


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        # It has fewer contexts than before, or others, and says so.
        ([("ENABLE-APP", "Alias=h,i&Context=/auth")], None),
        ([("ENABLE-APP", "Alias=h,j&Context=/auth")], None),
        ([("ENABLE-APP", "Alias=h,i&Context=/new")], None),
        # What it was told to be enabled it believes to be so, under its other aliases.
        ([("ENABLE-APP", "Alias=h,j&Context=/new")], McmpFault.MEM),
        ([("STOP-APP", "Alias=h,j&Context=/auth")], McmpFault.MEM),
        (
            [
                ("REMOVE-APP", "Alias=h,j&Context=/auth"),
                ("REMOVE-APP", "Alias=h,j&Context=/app"),
                ("ENABLE-APP", "Alias=h,j&Context=/new"),
            ],
            None,
        ),
    ],
)
async def test_a_node_that_says_what_it_has_is_not_asked_again(
    hall: Hall, said: list[tuple[str, str]], fault: McmpFault | None
) -> None:
    await hall.ready()
    await hall.done("ENABLE-APP", "JVMRoute=kc1&Alias=h&Context=/app")
    await hall.done("REMOVE-APP", "JVMRoute=kc1", "/*")
    await hall.done("CONFIG", "JVMRoute=kc1&Host=127.0.0.1&Port=8080&Type=http")
    for method, body in said:
        await hall.done(method, f"JVMRoute=kc1&{body}")
    answer = await hall.say("STATUS", "JVMRoute=kc1&Load=50")
    assert answer.fault is fault


@pytest.mark.parametrize("names", [("h,b%C3%BCcher", "/"), ("h", "/gr%C3%B6%C3%9Fe/")])
async def test_a_node_with_odd_names_is_told_of_and_keeps_nothing_that_it_lost(
    hall: Hall, names: tuple[str, str]
) -> None:
    config = "JVMRoute=kc1&Host=127.0.0.1&Port=8080&Type=http"
    aliases, path = names
    await hall.done("CONFIG", config)
    for name in ("a", "b"):
        await hall.done("ENABLE-APP", f"JVMRoute=kc1&Alias={aliases}&Context={path}{name}")
    await hall.done("STATUS", "JVMRoute=kc1&Load=50")
    info = parse_info(await hall.done("INFO"))
    (host,) = info["kc1"]
    assert len(host.contexts) == 2
    assert "h" not in host.aliases  # nor does the node find its host, and repair what is right
    dump = await hall.done("DUMP", "", "/*")
    assert "JVMRoute: kc1" in dump
    assert "[h] vhost: 1" in dump
    await hall.done("CONFIG", config)
    await hall.done("ENABLE-APP", f"JVMRoute=kc1&Alias={aliases}&Context={path}a")
    await hall.done("STATUS", "JVMRoute=kc1&Load=50")
    (kept,) = hall.node().virtual_hosts or ()
    assert len(kept.contexts) == 1


async def test_an_agent_reads_no_info_so_config_begins_with_nothing(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Access, "source", lambda self, peer, request: Source.AGENT)
    await hall.ready()
    assert hall.node().source is Source.AGENT
    await hall.done("CONFIG", "JVMRoute=kc1&Host=127.0.0.1&Port=8080&Type=http")
    assert hall.node().virtual_hosts == ()


async def test_commands_of_an_operator_survive_config(hall: Hall) -> None:
    await hall.ready()
    hall.registry.command("idp", "kc1", Admin.DRAINING, "told", hall.now)
    await hall.ready()
    await hall.done("ENABLE-APP", "JVMRoute=kc1", "/*")
    assert hall.node().admin is Admin.DRAINING


async def test_other_methods_are_no_commands(hall: Hall) -> None:
    for method in ("GET", "POST", "ADDID", "QUERY", "config"):
        answer = await hall.say(method, "JVMRoute=kc1")
        assert (answer.status, answer.fault) == (501, None)
    assert hall.commands.counts == {("other", "refused"): 5}


async def test_every_method_is_carried_out(hall: Hall) -> None:
    await hall.ready()
    for method in sorted(METHODS):
        body = "JVMRoute=kc1&Host=127.0.0.1&Port=8080&Type=http&Alias=h&Context=/auth"
        async with asyncio.timeout(10):
            await hall.done(method, body)
