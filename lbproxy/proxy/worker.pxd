import cython

from lbproxy.proxy.access_log cimport AccessLog
from lbproxy.proxy.downstream.http1 cimport ClientConnection
from lbproxy.proxy.forwarding.asker cimport ClientView
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.proxy.request_ids cimport RequestIds
from lbproxy.proxy.nodes.routing cimport Routing
from lbproxy.wire.ajp13_request cimport Ajp13Encoder
from lbproxy.wire.fields cimport DropRules
from lbproxy.wire.http1_head cimport HeadLimits
from lbproxy.wire.http1_request cimport RequestParser
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.http1_response cimport ResponseParser
from lbproxy.wire.http1_body cimport BodyLimits

cdef class Worker:
    cdef public object config
    cdef public object reports
    cdef public AccessLog access_log
    cdef public double now
    cdef public double tick_s
    cdef public bint draining
    cdef public double handshake_timeout
    cdef public double head_timeout
    cdef public double idle_timeout
    cdef public double body_timeout
    cdef public double write_timeout
    cdef public double tunnel_timeout
    cdef public Py_ssize_t response_head_limit
    cdef public long long body_limit
    cdef public Py_ssize_t requests_per_connection
    cdef public Py_ssize_t max_connections
    cdef public DropRules trailer_drops
    cdef public bint tells_request_id
    cdef public bint pass_trailers
    cdef public RequestParser request_parser
    cdef public HeadLimits response_limits
    cdef public ResponseParser response_parser
    cdef public Ajp13Encoder ajp_encoder
    cdef public BodyLimits request_body_limits
    cdef public BodyLimits response_body_limits
    cdef public object forwarding
    cdef public object per_client
    cdef public object shaking
    cdef public RequestIds ids
    cdef public dict pools
    cdef public Routing routing
    cdef public set clients
    cdef public Py_ssize_t refused
    cdef public object half_closed
    cdef public set handshakes
    cdef public set gathering
    cdef public list listeners
    cdef public dict rejected
    cdef public dict shaken
    cdef public list delays
    cdef public double delay_sum
    cdef double _due
    cdef object _notices
    cdef list _ready
    cdef set _tasks
    cdef object _timer
    cdef bytes _date
    cdef double _wall
    cdef object _idle
    cdef Py_ssize_t _snapshot_version

    cpdef ClientView view(self, str peer, ClientConnection client)
    cpdef admit(self, client)
    cpdef dismiss(self, client)
    cpdef bint admit_handshake(self, layer) except -1
    cpdef dismiss_handshake(self, layer)
    @cython.locals(ready=list)
    cdef start_soon(self, Exchange exchange)
    @cython.locals(ready=list, exchange=Exchange)
    cpdef _start_ready(self)
    cpdef connect(self, Exchange exchange, Link link)
    cpdef node_failed(self, Exchange exchange, Link link, failure, str detail=*)
    cpdef route_unknown(self, Exchange exchange)
    cpdef node_recovered(self, Link link)
    cpdef count_rejected(self, str reason)
    cdef bytes request_id(self)
    cpdef bytes date(self)
    @cython.locals(
        head=RequestHead, pool=Pool, link=Link, log=AccessLog, client=ClientConnection,
    )
    cdef log_exchange(self, Exchange exchange, double now)
