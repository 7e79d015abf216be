"""Whatever lbproxy was told before, a node's own repairs bring it to what the node is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from lbproxy.cluster.contexts import ContextState
from lbproxy.config.schema import Config
from lbproxy.wire.mcmp_answer import render_answer
from lbproxy.wire.mcmp_http import McmpRequest
from lbproxy.wire.mcmp_text import render_form
from tests.control.mcmp.hall import PEER, Hall
from tests.java_node import Command, JavaAnswer, JavaHost, JavaNode, read_answer

RUNS, LIVES = 40, 6
TICK_S = 10.0
VERBS = ("ENABLE", "DISABLE", "STOP", "REMOVE")
PATHS = ("/", "/auth", "/app", "/new", "/größe")


def deployed(random: Random) -> list[JavaHost]:
    """What a node of two hosts may be started with; a host keeps its name."""
    hosts = []
    for name in ("default-host", "Other"):
        names = [f"a.{name}", f"B.{name}", f"c.{name}", f"bücher.{name}"]
        more = random.sample(names, random.randint(0, 2))
        paths = random.sample(PATHS, random.randint(0, 3))
        aliases = random.sample([name, *more], 1 + len(more))
        hosts.append(JavaHost(name, aliases, {path: random.random() < 0.8 for path in paths}))
    return hosts


def started(node: JavaNode) -> list[str]:
    return sorted(path for host in node.hosts for path, up in host.contexts.items() if up)


async def send(hall: Hall, command: Command) -> JavaAnswer:
    method, target, parameters = command
    request = McmpRequest(method, target, (), render_form(parameters).encode())
    return read_answer(render_answer(await hall.commands.handle(request, PEER)))


async def tick(hall: Hall, node: JavaNode) -> bool:
    """Do what a node does that does not know whether lbproxy knows it; False: come again."""
    hall.now += TICK_S
    info = await send(hall, ("INFO", "/", []))
    for command in [*node.reset(info.body), node.status(50)]:
        if (await send(hall, command)).status != 200:
            return False
    return True


async def test_a_node_comes_to_be_known_as_it_is(configure: Callable[..., Config]) -> None:
    config = configure("http://10.0.0.1:9011", health={"rise": 1, "fall": 1})
    for seed in range(RUNS):
        random, hall, node = Random(seed), Hall(config), JavaNode("kc1", 8080)
        for _ in range(LIVES):
            if random.random() < 0.5:
                node.hosts = deployed(random)  # killed and started with something else
            for _ in range(random.randint(0, 4)):  # some of it said by an administrator
                verb, host = random.choice(VERBS), random.choice(node.hosts)
                everything = random.random() < 0.2
                path = random.choice(PATHS)
                said = node.everything(verb) if everything else node.app(verb, host, path)
                await send(hall, said)
            ticks = 0
            while not await tick(hall, node):
                ticks += 1
                assert ticks < 3, seed
            known = [each for host in hall.node().virtual_hosts or () for each in host.contexts]
            enabled = [each.path for each in known if each.state is ContextState.ENABLED]
            assert sorted(enabled) == started(node), seed
