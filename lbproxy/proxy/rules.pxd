from lbproxy.proxy.nodes.routing cimport Routing
from lbproxy.wire.fields cimport DropRules
from lbproxy.wire.http1_body cimport BodyLimits
from lbproxy.wire.http1_head cimport HeadLimits
from lbproxy.wire.http1_request cimport RequestParser
from lbproxy.wire.http1_response cimport ResponseParser

cdef class Rules:
    cdef readonly object config
    cdef readonly Routing routing
    cdef readonly double handshake_timeout
    cdef readonly double head_timeout
    cdef readonly double idle_timeout
    cdef readonly double body_timeout
    cdef readonly double write_timeout
    cdef readonly double tunnel_timeout
    cdef readonly Py_ssize_t response_head_limit
    cdef readonly long long body_limit
    cdef readonly Py_ssize_t requests_per_connection
    cdef readonly Py_ssize_t max_connections
    cdef readonly Py_ssize_t max_per_client
    cdef readonly DropRules trailer_drops
    cdef readonly bint tells_request_id
    cdef readonly HeadLimits request_limits
    cdef readonly RequestParser request_parser
    cdef readonly HeadLimits response_limits
    cdef readonly ResponseParser response_parser
    cdef readonly BodyLimits request_body_limits
    cdef readonly BodyLimits response_body_limits
    cdef readonly object forwarding
