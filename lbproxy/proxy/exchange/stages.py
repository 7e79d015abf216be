"""The stages of an exchange as one table: what it holds, what limits it, and what may follow.

Pure. The exchange is in exactly one stage; a step that `ROWS` does not name is a fault of lbproxy.
Two facts stand beside the stage: whether the request is whole, and whether any of its body was
sent. While the request is not whole, and nobody holds its body back, it is the client's turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbproxy.errors import Failure

# BEGUN: a head was read, nothing is under way. ROOM: waits for a node that can be used. PARKED: has
# a node, and its request is sent at the end of the turn. CONNECTING: a connection to that node is
# made. PINGING: the node is asked for a sign of life first. ASKED: the request, or the beginning of
# it, was sent. ANSWERING: the answer has begun. TUNNEL: bytes pass as they are. OVER: it has ended.
BEGUN, ROOM, PARKED, CONNECTING, PINGING, ASKED, ANSWERING, TUNNEL, OVER = range(9)
N_STAGES = 9

# What an exchange holds and has to give back, as bits: a place in a waiting room, a task that
# connects, a share of a node's requests in flight. Its connection to a node is not among them: it
# has one if it has an upstream, which may be before the stage says so.
PLACE, TASK, LINK = 1, 2, 4

# What limits the wait: nothing of the exchange's own, its place in the waiting room or the node
# (`response_timeout` says how long), the client's next piece of body, the tunnel's next byte.
NO_CLOCK, NODE_CLOCK, BODY_CLOCK, TUNNEL_CLOCK = range(4)


@dataclass(frozen=True, slots=True)
class Row:
    """One stage.

    Args: name: for messages; holds: bits; clock: what limits the wait for the node; late: what has
    happened if that is over, None if the stage has no such end or another module knows it; then:
    stages that may follow; client_clock, client_late: the same while it is the client's turn.
    """

    name: str
    holds: int
    clock: int
    late: Failure | None
    then: tuple[int, ...]
    client_clock: int
    client_late: Failure | None


def _row(
    name: str,
    holds: int,
    clock: int,
    late: Failure | None,
    then: tuple[int, ...],
    client: tuple[int, Failure] | None = None,
) -> Row:
    client_clock, client_late = client or (clock, late)
    return Row(name, holds, clock, late, then, client_clock, client_late)


_SLOW_BODY = (BODY_CLOCK, Failure.BODY_TIMEOUT)
_SLOW_CLIENT = (BODY_CLOCK, Failure.CLIENT_SLOW)

# fmt: off
ROWS: tuple[Row, ...] = (
    _row("begun", 0, NO_CLOCK, None, (ROOM, PARKED, OVER)),
    _row("room", PLACE, NODE_CLOCK, None, (BEGUN, OVER)),  # the room knows the failure
    _row("parked", LINK, NODE_CLOCK, Failure.UPSTREAM_TIMEOUT,
         (BEGUN, CONNECTING, PINGING, ASKED, OVER)),
    _row("connecting", LINK | TASK, NO_CLOCK, None, (BEGUN, PINGING, ASKED, OVER)),
    _row("pinging", LINK, NODE_CLOCK, Failure.UPSTREAM_TIMEOUT, (BEGUN, ASKED, OVER)),
    _row("asked", LINK, NODE_CLOCK, Failure.UPSTREAM_TIMEOUT,
         (BEGUN, ANSWERING, TUNNEL, OVER), _SLOW_BODY),
    _row("answering", LINK, NODE_CLOCK, Failure.UPSTREAM_STALLED, (OVER,),
         _SLOW_CLIENT),
    _row("tunnel", LINK, TUNNEL_CLOCK, Failure.TUNNEL_IDLE, (OVER,)),
    _row("over", 0, NO_CLOCK, None, ()),
)
# fmt: on

# The table's columns as bytes, which compiled code reads without an object.
_HOLDS = bytes(row.holds for row in ROWS)
_CLOCKS = bytes(row.clock for row in ROWS)
_CLIENT_CLOCKS = bytes(row.client_clock for row in ROWS)
_FOLLOWS = bytes(then in row.then for row in ROWS for then in range(N_STAGES))
_N = N_STAGES


class StageError(AssertionError):
    """A step from one stage to another that the table does not know: a fault of lbproxy."""


def follows(stage: int, then: int) -> int:
    """Return `then`. Raises: StageError: it may not follow `stage`."""
    table = _FOLLOWS
    if not table[stage * _N + then]:
        raise StageError(f"{ROWS[then].name} after {ROWS[stage].name}")
    return then


def holds(stage: int) -> int:
    """Return what an exchange holds in this stage, as bits."""
    table = _HOLDS
    return table[stage]


def clock(stage: int, clients_turn: bool) -> int:
    """Return what limits the wait. Args: clients_turn: the client owes a piece of the body."""
    table = _CLIENT_CLOCKS if clients_turn else _CLOCKS
    return table[stage]


def late(stage: int, clients_turn: bool) -> Failure | None:
    """Return what has happened if the wait is over, None if that ends nothing here."""
    row = ROWS[stage]
    return row.client_late if clients_turn else row.late
