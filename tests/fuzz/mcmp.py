"""A bounded fuzzer of the MCMP codecs: `python -m tests.fuzz.mcmp --cases 10000 --seed 1`.

Bends the messages of nodes. Fails (exit status 1) where anything but a refusal is raised, where a
message that comes in pieces is read differently from one in a single piece, where a command holds
what a log or a console must not see, or where a node could not read the answer to it.
"""

from __future__ import annotations

import argparse
import traceback
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from random import Random

from lbproxy.wire.mcmp import (
    METHODS,
    AppCommand,
    ConfigCommand,
    McmpCommand,
    Refused,
    StatusCommand,
)
from lbproxy.wire.mcmp_answer import McmpAnswer, refusal, render_answer, stop_answer
from lbproxy.wire.mcmp_client import render_command
from lbproxy.wire.mcmp_http import BadMessage, McmpRequest, RequestReader
from lbproxy.wire.mcmp_request import read_command
from tests.fuzz.mutate import FRAGMENTS, mutate
from tests.java_node import JavaNode, read_answer

SHOWN = 20
MAX_BODY = 2000
SMUGGLED: list[bytes] = [
    *b"JVMRoute=|jvmroute=b|Host=0.0.0.0|Host=%5B::1%5D|Port=-1|Port=99999|Load=101|Load=-1".split(
        b"|"
    ),
    *b"Type=ajp|Type=ftp|Alias=|Alias=a,,b|Context=/|Context=|Balancer=x,y|ping=1h|ttl=-1".split(
        b"|"
    ),
    *b"%0d%0a|%00|%|%zz|%c3%a9|%ff|+|%2B|&|=|&&|=&|<script>|/*|*|%25eth0|REMOVED|%5B|%5D".split(
        b"|"
    ),
    b"Context=" + b"/x," * 200,
    b"Alias=" + b"h," * 200,
]


HOSTILE_HOST = "192.0.2.66"


def messages(host: str = "127.0.0.1") -> list[bytes]:
    """What a node sends in its life, and what else a proxy is asked."""
    node = JavaNode("kc1", 8080, host=host, settings=[("StickySessionCookie", "AUTH_SESSION_ID")])
    commands = [*node.reset(""), node.status(50), node.everything("REMOVE")]
    commands += [node.app(verb, node.hosts[0], "/auth") for verb in ("DISABLE", "STOP", "REMOVE")]
    commands += [("PING", "/", []), ("PING", "/", [("JVMRoute", "kc1")]), ("DUMP", "/*", [])]
    commands += [("INFO", "/", []), ("VERSION", "/", [])]
    commands.append(("PING", "/", [("Scheme", "http"), ("Host", "127.0.0.1"), ("Port", "8080")]))
    return [
        render_command(method, parameters, "127.0.0.1:6666", everything=target == "/*")
        for method, target, parameters in commands
    ]


@dataclass(slots=True)
class Tally:
    """What became of the cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def bend(random: Random, seeds: list[bytes]) -> bytes:
    """Return one or more messages, bent."""
    data = b"".join(random.choices(seeds, k=random.choice((1, 1, 1, 2, 3))))
    if random.random() < 0.5:  # inside the form, with the right length
        head, _, body = data.partition(b"\r\n\r\n")
        at = random.randint(0, len(body))
        body = body[:at] + random.choice(SMUGGLED + FRAGMENTS) + body[at + random.randint(0, 9) :]
        first = head.split(b"\r\n")[0]
        return b"%s\r\nContent-Length: %d\r\n\r\n%s" % (first, len(body), body)
    return mutate(random, data, seeds)


def hostile(random: Random, seeds: list[bytes], routes: Collection[str]) -> bytes:
    """Return a message, bent, that nobody could carry out in good faith.

    Args: seeds: messages of a node that is not known, at an address where no node may be; routes:
    of the nodes that are known.
    """
    while True:
        data = bend(random, seeds)
        if not any(_honest(request, routes) for request in read([data])):
            return data


def _honest(request: McmpRequest | int, routes: Collection[str]) -> bool:
    """True where a command, bent as it is, could be carried out for a node."""
    if isinstance(request, int) or request.method not in METHODS:
        return False
    try:
        command, _ = read_command(request.method, request.wildcard, request.body)
    except Refused:
        return False
    match command:
        case ConfigCommand():
            return command.node.host != HOSTILE_HOST or command.node.scheme not in ("http", "ajp")
        case AppCommand() | StatusCommand():
            return command.route in routes
        case _:
            return False


def read(pieces: list[bytes]) -> Iterator[McmpRequest | int]:
    """Yield the requests, and at last the status of a refusal, if there is one."""
    reader = RequestReader(MAX_BODY)
    try:
        for piece in pieces:
            reader.feed(piece)
            while (request := reader.next()) is not None:
                yield request
    except BadMessage as error:
        yield error.status


def answer(request: McmpRequest, tally: Tally) -> McmpAnswer:
    """Return what a request would be answered, as far as the codec knows."""
    if request.method not in METHODS:
        tally.outcomes["another method"] += 1
        return McmpAnswer(501)
    command: McmpCommand
    try:
        command, ignored = read_command(request.method, request.wildcard, request.body)
    except Refused as refused:
        tally.outcomes[f"{refused.fault.value}"] += 1
        return refusal(refused)
    tally.outcomes[f"{request.method} accepted"] += 1
    text = repr((command, ignored))
    if not text.isprintable() or "<script" in text:
        tally.findings.append(f"{request!r}\n  reads as {text}")
    return stop_answer(request.target, (text,), ignored, 1)


def check(data: bytes, random: Random, tally: Tally) -> None:
    """Read one case in one piece and in two."""
    whole = list(read([data]))
    cut = random.randint(0, len(data))
    # A message that is refused in the midst may show its fault later, never be accepted.
    apart = list(read([data[:cut], data[cut:]]))
    if [each for each in apart if each != 431] != [each for each in whole if each != 431]:
        tally.findings.append(f"{data!r}\n  cut at {cut}: {apart}\n  whole: {whole}")
    for each in whole:
        if isinstance(each, int):
            tally.outcomes[f"refused with {each}"] += 1
            reply = McmpAnswer(each)
        else:
            reply = answer(each, tally)
        read_answer(render_answer(reply))


def run(cases: int, seed: int) -> Tally:
    """Run the cases; the same seed makes the same cases."""
    random, tally, seeds = Random(seed), Tally(), messages()
    for _ in range(cases):
        data = bend(random, seeds)
        try:
            check(data, random, tally)
        except Exception:  # whatever it is, it is what is looked for
            tally.findings.append(f"{data!r}\n{traceback.format_exc()}")
    return tally


def main() -> int:
    """Run what the command line asks for and print the tally; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description="fuzz the MCMP codecs")
    parser.add_argument("--cases", type=int, default=10_000)
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
