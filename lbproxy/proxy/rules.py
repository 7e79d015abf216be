"""What a configuration says of the request path, as one value that never changes.

An exchange takes the rules when it begins and keeps them to its end. A configuration that is read
again is a new value, and to follow it is one assignment (`Desk.rules`).
"""

from __future__ import annotations

import socket

from lbproxy.config.schema import Config
from lbproxy.proxy.forwarding.rules import ForwardingRules, drop_rules
from lbproxy.proxy.nodes.routing import Routing
from lbproxy.wire.fields import DropRules
from lbproxy.wire.http1_body import BodyLimits
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_request import RequestParser
from lbproxy.wire.http1_response import ResponseParser


class Rules:
    """The rules of one configuration. Args: config; routing: its routes, leading to the pools.

    Attributes: all timeouts in seconds; body_limit: in bytes, -1 for none; trailer_drops: which
    trailers never go on, None if none do; tells_request_id: clients are told the request's id.
    """

    def __init__(self, config: Config, routing: Routing) -> None:
        limits = config.limits
        timeouts = config.timeouts
        self.config = config
        self.routing = routing

        self.handshake_timeout: float = timeouts.tls_handshake
        self.head_timeout: float = timeouts.client_head
        self.idle_timeout: float = timeouts.client_idle
        self.body_timeout: float = timeouts.body_idle
        self.write_timeout: float = timeouts.write_idle
        self.tunnel_timeout: float = timeouts.tunnel_idle

        self.response_head_limit: int = limits.response_head
        self.body_limit: int = -1 if limits.body is False else limits.body
        self.requests_per_connection: int = limits.requests_per_connection
        self.max_connections: int = limits.connections
        self.max_per_client: int = limits.per_client

        pools = config.pools.values()
        drops = drop_rules(
            (name for pool in pools for name in pool.strip),
            (name for pool in pools for name in pool.passes),
        )
        passes_trailers = config.forwarding.trailers == "pass"
        self.trailer_drops: DropRules | None = drops if passes_trailers else None
        self.tells_request_id: bool = config.forwarding.request_id_to_client
        self.request_limits = HeadLimits(limits.request_line, limits.head, limits.fields)
        self.request_parser = RequestParser(self.request_limits, drops)
        self.response_limits = HeadLimits(
            limits.response_head, limits.response_head, limits.response_fields
        )
        self.response_parser = ResponseParser(self.response_limits)
        self.request_body_limits = BodyLimits(limits.chunk_line, limits.trailers, limits.fields)
        self.response_body_limits = BodyLimits(
            limits.chunk_line, limits.trailers, limits.response_fields
        )
        self.forwarding = ForwardingRules(config.forwarding, socket.gethostname())
