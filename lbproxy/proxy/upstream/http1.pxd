import cython

from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.nodes.connection cimport Connection
from lbproxy.proxy.rules cimport Rules
from lbproxy.proxy.upstream.single cimport SingleUpstream, learns_session
from lbproxy.wire.http1_body cimport ChunkedReader
from lbproxy.wire.http1_render cimport render
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.http1_response cimport ResponseHead
from lbproxy.wire.partial_head cimport PartialHead

cdef int _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, TUNNEL
cdef long long NO_BODY
cdef Py_ssize_t _JOIN_BELOW, _DENSE_FROM

cdef class Http1Upstream(SingleUpstream):
    cdef int _state
    cdef bint _large
    cdef PartialHead _partial
    cdef Py_ssize_t _interim
    cdef long long _left
    cdef ChunkedReader _reader

    @cython.locals(body=bytes, request=bytes, head=RequestHead, connection=Connection)
    cdef send_request(self, Exchange exchange)
    @cython.locals(exchange=Exchange)
    cpdef send_body(self, bytes payload, bint last)
    cdef bytes _frame(self, Exchange exchange, bytes payload, bint last)
    @cython.locals(state=int, size=Py_ssize_t)
    cpdef receive(self, Exchange exchange, bytes data)
    cdef lost(self, Exchange exchange, error)
    cdef bint clean(self, Exchange exchange) except -1

    @cython.locals(position=Py_ssize_t, head=ResponseHead, partial=PartialHead, rules=Rules)
    cdef _read_heads(self, Exchange exchange, bytes data)
    @cython.locals(
        text="const char *", position=Py_ssize_t, available=Py_ssize_t, payload=bytes,
        rules=Rules,
    )
    cdef _begin_body(self, Exchange exchange, ResponseHead head, bytes data)
    @cython.locals(reader=ChunkedReader, payload=bytes, done=bint)
    cdef _read_chunks(
        self, Exchange exchange, ResponseHead head, bytes data, Py_ssize_t position
    )
    cdef _upgrade(self, Exchange exchange, ResponseHead head, bytes data)
