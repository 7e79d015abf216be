import cython

from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.exchange.upstream cimport Upstream
from lbproxy.proxy.nodes.connection cimport Connection
from lbproxy.proxy.nodes.link cimport Link

cdef int SLOW_CLIENT, SLOW_NODE
cdef long long NO_BODY

cdef class SingleUpstream(Upstream):
    cdef public Desk desk
    cdef public Link link
    cdef public Connection connection
    cdef public Exchange exchange
    cdef public bint reusable
    cdef public bint clean_end

    cdef send_request(self, Exchange exchange)
    cpdef receive(self, Exchange exchange, bytes data)
    cdef lost(self, Exchange exchange, error)
    cdef bint clean(self, Exchange exchange) except -1
    cpdef ping_failed(self)

    @cython.locals(connection=Connection)
    cpdef finish(self, Exchange exchange)

    @cython.locals(exchange=Exchange)
    cpdef data_received(self, data)
    @cython.locals(exchange=Exchange)
    cpdef connection_lost(self, error)
    cdef _hear_rest(self, Exchange exchange, error)
    cpdef pause_writing(self)
    cpdef resume_writing(self)

cpdef bint learns_session(Exchange exchange) except -1
