"""Between a node and lbproxy's management listener: passes every byte on, and writes all down."""

from __future__ import annotations

import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple
from urllib.parse import parse_qs

LOOPBACK = "127.0.0.1"
PATIENCE_S = 30.0
# What a node says when lbproxy's answers are not what it can use, or come too late: requests (22)
# or sessions (25) that did not end in time; a head that cannot be parsed (40); an error that is
# for ever (41), one that a reset mends (42); no answer (43).
COMPLAINT = re.compile("MODCLUSTER0000(22|25|4[0-3])")
TRACE = "\tat org.jboss.modcluster"


@dataclass(frozen=True, slots=True)
class Said:
    """One command of a node and what lbproxy answered.

    Args: command: method and target, as `ENABLE-APP /`; parameters: of its body; status: of the
    answer; answer: its fields and body as text.
    """

    command: str
    parameters: dict[str, str]
    status: int
    answer: str

    def __str__(self) -> str:
        body = self.answer.rpartition("\r\n")[2]
        return f"{self.command} {self.parameters} -> {self.status} {body}"

    @property
    def context(self) -> str | None:
        return self.parameters.get("Context")

    @property
    def requests(self) -> int:
        """How many requests are under way, as the answer to STOP-APP says."""
        return int(self.answer.rpartition("&Requests=")[2])


class Message(NamedTuple):
    """A request or a response: its first line, its fields, its body."""

    line: str
    fields: str
    body: str


class Tap:
    """Listens on a port of its own, which is the one that the node is told.

    Where nobody listens at the target, the node sees its connection closed.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.said: list[Said] = []
        self._news = threading.Condition()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name=f"tap {self.port}").start()

    def close(self) -> None:
        """Take no more connections."""
        # A bare close would leave the other thread in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def mark(self) -> int:
        """Return a place in the dialogue, for what is said from now on."""
        return len(self.said)

    def until(
        self, wanted: Callable[[Said], bool], after: int = 0, timeout_s: float = PATIENCE_S
    ) -> Said:
        """Return the first exchange from a mark on that is wanted; wait for it."""

        def found() -> Said | None:
            return next((said for said in self.said[after:] if wanted(said)), None)

        with self._news:
            result = self._news.wait_for(found, timeout_s)
        assert result is not None, "never said; instead:\n" + self.told(after)
        return result

    def until_command(self, command: str, after: int = 0, context: str | None = None) -> Said:
        """Return the first answered exchange of a command, for a context where one is named."""
        return self.until(
            lambda said: said.command == command and context in (None, said.context), after
        )

    def refused(self, after: int = 0) -> list[Said]:
        """Return what was not answered with 200, but for contexts that spoke before their node.

        One that comes up between a node's INFO and its CONFIG announces itself in between: it is
        told to wait, and the node says everything once more.

        Args: after: a mark at which lbproxy does not know the node.
        """
        known = False
        found = []
        for said in self.said[after:]:
            early = not known and said.context is not None and "Type: MEM" in said.answer
            if said.status != 200 and not early:
                found.append(said)
            if said.command == "CONFIG /":
                known = True
            elif said.command == "REMOVE-APP /*":
                known = False
        return found

    def told(self, after: int = 0) -> str:
        """The dialogue for a person; what is said again and again stands there once."""
        lines = [str(said) for said in self.said[after:]]
        return "\n".join(line for line, _ in groupby(lines))

    def _accept(self) -> None:
        while True:
            try:
                node, _ = self._listener.accept()
            except OSError:
                return
            try:
                lbproxy = socket.create_connection((LOOPBACK, self.target), PATIENCE_S)
            except OSError:
                node.close()
                continue
            lbproxy.settimeout(None)
            threading.Thread(target=self._relay, args=(node, lbproxy), daemon=True).start()

    def _relay(self, node: socket.socket, lbproxy: socket.socket) -> None:
        asked: deque[Message] = deque()

        def answered(answer: Message) -> None:
            self._note(asked.popleft(), answer)

        back = threading.Thread(target=_pump, args=(lbproxy, node, answered), daemon=True)
        with node, lbproxy:
            back.start()
            _pump(node, lbproxy, asked.append)
            back.join()

    def _note(self, asked: Message, answer: Message) -> None:
        pairs = parse_qs(asked.body, keep_blank_values=True, strict_parsing=bool(asked.body))
        with self._news:
            self.said.append(
                Said(
                    asked.line.rpartition(" ")[0],
                    {name: values[-1] for name, values in pairs.items()},
                    int(answer.line.split(" ")[1]),
                    f"{answer.fields}\n{answer.body}".strip(),
                )
            )
            self._news.notify_all()


def complaints(log: Iterable[str]) -> set[str]:
    """Return the codes of what mod_cluster, in a node's log, had to complain of."""
    found: set[str] = set()
    for line in log:
        if (match := COMPLAINT.search(line)) is not None:
            found.add(match[1])
        if TRACE in line:
            found.add("trace")
    return found


def _pump(source: socket.socket, sink: socket.socket, take: Callable[[Message], object]) -> None:
    """Pass bytes on until either side ends; give each whole message to `take`, before it goes."""
    buffer = b""
    try:
        while data := source.recv(1 << 16):
            buffer += data
            while (found := _first(buffer)) is not None:
                message, buffer = found
                take(message)
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            # A thread may be reading there, which a close alone would not wake.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _first(buffer: bytes) -> tuple[Message, bytes] | None:
    """Return the first message and what follows it, if all of it is there."""
    head, end, rest = buffer.partition(b"\r\n\r\n")
    if not end:
        return None
    line, _, fields = head.decode("latin-1").partition("\r\n")
    given = dict(field.lower().split(": ", 1) for field in fields.split("\r\n"))
    length = int(given.get("content-length", 0))
    if len(rest) < length:
        return None
    return Message(line, fields, rest[:length].decode("ascii")), rest[length:]
