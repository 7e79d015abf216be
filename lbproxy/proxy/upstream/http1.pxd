import cython

from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.connection cimport UpstreamConnection
from lbproxy.proxy.worker cimport Worker
from lbproxy.wire.http1_body cimport ChunkedReader
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.http1_response cimport ResponseHead
from lbproxy.wire.partial_head cimport PartialHead

cdef int _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL
cdef Py_ssize_t _JOIN_BELOW, _DENSE_FROM

cdef class Http1Upstream(UpstreamConnection):
    cdef int _state
    cdef PartialHead _partial
    cdef Py_ssize_t _interim
    cdef long long _left
    cdef ChunkedReader _reader

    @cython.locals(body=bytes)
    cdef send_request(self, Exchange exchange)
    @cython.locals(exchange=Exchange)
    cdef send_body(self, bytes payload, bint last)
    cdef bytes _frame(self, Exchange exchange, bytes payload, bint last)
    @cython.locals(state=int, size=Py_ssize_t)
    cdef receive(self, Exchange exchange, bytes data)
    cdef lost(self, Exchange exchange, error)
    @cython.locals(large=bint)
    cdef bint clean(self, Exchange exchange) except -1

    @cython.locals(position=Py_ssize_t, head=ResponseHead, partial=PartialHead)
    cdef _read_heads(self, Exchange exchange, bytes data)
    @cython.locals(
        text="const char *", position=Py_ssize_t, available=Py_ssize_t, payload=bytes,
    )
    cdef _begin_body(self, Exchange exchange, ResponseHead head, bytes data)
    @cython.locals(reader=ChunkedReader, payload=bytes, done=bint)
    cdef _read_chunks(
        self, Exchange exchange, ResponseHead head, bytes data, Py_ssize_t position
    )
    cdef _upgrade(self, Exchange exchange, ResponseHead head, bytes data)
