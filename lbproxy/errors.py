"""Every named error of the request path, in one table.

A row says what happens when a step of an exchange fails: the status that the client gets, whether
the request may go to another node, whether the node is blamed, whether the client is told to come
back, and whether its connection ends.
"""

from __future__ import annotations

from enum import Enum, Flag, auto

# Status of rows that answer nobody: the response has begun, or there is no request to answer.
NO_ANSWER = 0
# Status that only the log sees: the client left before its answer.
CLIENT_GONE = 499


class Retry(Enum):
    """When the request may be sent again; `may_go_again` says what each value asks for."""

    NEVER = "never"
    UNSENT = "if_unsent"  # not one byte of it reached the node, so any method may go again
    IDEMPOTENT = "if_idempotent"  # or unsent: the method decides, a response must not have begun
    # As IDEMPOTENT, and once to the same node on a new connection: it says nothing of the node.
    FRESH = "same_node_first"


class Then(Flag):
    """What else follows from a row."""

    BLAME = auto()  # counts against the node (passive ejection)
    LATER = auto()  # the answer carries Retry-After
    CLOSE = auto()  # the client's connection ends, so that none of its bytes is misread
    NOTHING = 0


NEVER, UNSENT, IDEMPOTENT, FRESH = Retry.NEVER, Retry.UNSENT, Retry.IDEMPOTENT, Retry.FRESH
BLAME, LATER, CLOSE, NOTHING = Then.BLAME, Then.LATER, Then.CLOSE, Then.NOTHING


class Failure(Enum):
    """One way in which a step of an exchange fails.

    Attributes: reason: the name in log and metrics; status: what the client gets, or NO_ANSWER,
    CLIENT_GONE.
    """

    reason: str
    status: int
    retry: Retry
    counts_against_node: bool
    retry_after: bool
    close: bool

    # fmt: off
    # What the client sends. What two readers could understand differently is refused, not repaired.
    BAD_REQUEST             = "bad_request", 400, NEVER, CLOSE  # grammar, framing, Host
    BAD_BODY                = "bad_body", 400, NEVER, CLOSE  # chunk framing, trailers
    DOUBTFUL_PATH           = "doubtful_path", 400, NEVER, NOTHING  # its readings differ in access
    HEAD_TIMEOUT            = "head_timeout", 408, NEVER, CLOSE  # the whole head took too long
    BODY_TIMEOUT            = "body_timeout", 408, NEVER, CLOSE  # no byte of the body for too long
    BODY_TOO_LARGE          = "body_too_large", 413, NEVER, CLOSE
    REQUEST_LINE_TOO_LONG   = "request_line_too_long", 414, NEVER, CLOSE
    EXPECTATION             = "expectation", 417, NEVER, CLOSE  # anything but 100-continue
    HEAD_TOO_LARGE          = "head_too_large", 431, NEVER, CLOSE  # in bytes
    TOO_MANY_FIELDS         = "too_many_fields", 431, NEVER, CLOSE
    NOT_IMPLEMENTED         = "not_implemented", 501, NEVER, CLOSE  # coding, CONNECT, MCMP methods
    VERSION_NOT_SUPPORTED   = "version_not_supported", 505, NEVER, CLOSE
    PROXY_PROTOCOL          = "proxy_protocol", NO_ANSWER, NEVER, CLOSE  # malformed or not trusted

    # The front door's own rules and limits.
    NO_ROUTE                = "no_route", 404, NEVER, NOTHING
    HIDDEN_PATH             = "hidden_path", 404, NEVER, NOTHING  # to the client like no_route
    NO_CONTEXT              = "no_context", 404, NEVER, NOTHING  # announced by no node
    TOO_MANY_CONNECTIONS    = "too_many_connections", 429, NEVER, LATER | CLOSE  # of one client
    CONNECTIONS_EXHAUSTED   = "connections_exhausted", 503, NEVER, LATER | CLOSE  # of all clients
    SHUTTING_DOWN           = "shutting_down", 503, NEVER, LATER | CLOSE

    # Finding and reaching a node. Nothing was sent yet, so any method may go to another one.
    NO_NODE                 = "no_node", 503, NEVER, LATER
    NODES_BUSY              = "nodes_busy", 503, NEVER, LATER  # all at their max_in_flight
    QUEUE_FULL              = "queue_full", 503, NEVER, LATER  # too many wait for a node already
    CONNECT_REFUSED         = "connect_refused", 503, UNSENT, BLAME | LATER
    CONNECT_TIMEOUT         = "connect_timeout", 503, UNSENT, BLAME | LATER
    CONNECT_FAILED          = "connect_failed", 503, UNSENT, BLAME | LATER  # unreachable, no name
    NO_DESCRIPTORS          = "no_descriptors", 503, NEVER, LATER  # our own lack, not the node's
    UPSTREAM_TLS            = "upstream_tls", 502, UNSENT, BLAME  # handshake or verification

    # Sent, and not a byte of a response yet. A timeout is not tried again: the client has waited
    # enough, and a slow cluster must not get twice the work.
    UPSTREAM_STALE          = "upstream_stale", 502, FRESH, NOTHING  # a reused connection died
    UPSTREAM_RESET          = "upstream_reset", 502, IDEMPOTENT, BLAME  # a fresh one died
    UPSTREAM_TIMEOUT        = "upstream_timeout", 504, NEVER, BLAME
    # The client holds its body back until the node says 100, and neither of them goes on.
    UPSTREAM_NO_CONTINUE    = "upstream_no_continue", 504, NEVER, NOTHING
    # Probes hear nothing of the node any more, and neither does this request. They blame it.
    UPSTREAM_GONE           = "upstream_gone", 504, IDEMPOTENT, NOTHING
    UPSTREAM_NOT_AJP        = "upstream_not_ajp", 502, IDEMPOTENT, BLAME  # answers HTTP or TLS
    # Servers end the connection if a body exceeds their limit: no fault of the node.
    UPSTREAM_REFUSED_BODY   = "upstream_refused_body", 502, NEVER, NOTHING

    # The response. Once a node has begun to answer, nothing is sent again.
    UPSTREAM_BAD_RESPONSE   = "upstream_bad_response", 502, NEVER, BLAME  # not HTTP, two readings
    UPSTREAM_HEAD_TOO_LARGE = "upstream_head_too_large", 502, NEVER, NOTHING  # our limit
    UPSTREAM_TRUNCATED      = "upstream_truncated", NO_ANSWER, NEVER, BLAME | CLOSE  # ended early
    UPSTREAM_STALLED        = "upstream_stalled", NO_ANSWER, NEVER, BLAME | CLOSE  # no more bytes
    TUNNEL_IDLE             = "tunnel_idle", NO_ANSWER, NEVER, CLOSE
    CLIENT_ABORT            = "client_abort", CLIENT_GONE, NEVER, CLOSE  # left before the end
    CLIENT_SLOW             = "client_slow", NO_ANSWER, NEVER, CLOSE  # no longer reads
    # fmt: on

    def __init__(self, reason: str, status: int, retry: Retry, then: Then) -> None:
        self.reason = reason
        self.status = status
        self.retry = retry
        self.counts_against_node = Then.BLAME in then
        self.retry_after = Then.LATER in then
        self.close = Then.CLOSE in then

    @property
    def of_node(self) -> bool:
        """True if it happened at a node, and counts among the failures of that node."""
        return self.reason.startswith(("upstream_", "connect_"))

    @property
    def unreached(self) -> bool:
        """True if nothing was sent to the node yet, so that no client can have brought it about."""
        return self.retry is Retry.UNSENT

    def blames_node(self, request_whole: bool) -> bool:
        """Return True if it counts against the node.

        Args: request_whole: the client has sent all of its request. One that holds the body back,
        or still sends it, can bring a failure about, and must not take nodes out with it.
        """
        return self.counts_against_node and (request_whole or self.unreached)


def may_go_again(retry: Retry, sent: bool, idempotent: bool, body_sent: bool) -> bool:
    """Return True if a request that failed at a node may be sent again.

    Args: sent: some of it was sent to this node; idempotent: its method is; body_sent: some of its
    body was sent, to this node or to one before.
    Source: RFC 9110 section 9.2.2.
    """
    if retry is Retry.NEVER:
        return False
    # This node got nothing of it? If one before did, the row of that failure has allowed this.
    if retry is Retry.UNSENT:
        return True
    return not sent or (idempotent and not body_sent)


class Denied(Exception):
    """No pool serves a request. Args: pool: the name of the one that hides the path, or ""."""

    def __init__(self, failure: Failure, pool: str = "") -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.pool = pool


class ConnectError(Exception):
    """A connection to a node could not be made; nothing was sent."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
