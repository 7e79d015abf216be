import cython

from lbproxy.proxy.downstream.http1 cimport ClientConnection
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.worker cimport Worker

cdef class UpstreamConnection:
    cdef public Worker worker
    cdef public Link link
    cdef public str address
    cdef public object transport
    cdef object _send
    cdef public Exchange exchange
    cdef public double idle_until
    cdef public Py_ssize_t served
    cdef public bint clean_end
    cdef object _poll
    cdef bint _paused
    cdef bint _breathing

    cdef send_request(self, Exchange exchange)
    cdef send_body(self, bytes payload, bint last)
    cdef receive(self, Exchange exchange, bytes data)
    cdef lost(self, Exchange exchange, error)
    cdef bint clean(self, Exchange exchange) except -1
    cpdef ping_failed(self)

    cdef begin(self, Exchange exchange)
    cdef finish(self, Exchange exchange)
    cpdef bint quiet(self)
    cpdef bint alive(self)
    cpdef bint silent(self) except -1
    cpdef close(self)
    cpdef abort(self)
    cdef fail(self, Exchange exchange, failure, str detail)
    cdef write(self, bytes data)
    cdef bint writing(self)
    cpdef pause(self)
    cpdef resume(self)
    cdef breathe(self)
    cpdef breathed(self)
    cdef _go_on(self)

    @cython.locals(exchange=Exchange)
    cpdef data_received(self, data)
    @cython.locals(exchange=Exchange)
    cpdef connection_lost(self, error)
    cdef _hear_rest(self, Exchange exchange, error)
    cpdef pause_writing(self)
    cpdef resume_writing(self)
