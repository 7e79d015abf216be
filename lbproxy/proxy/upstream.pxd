import cython

from lbproxy.proxy.client cimport ClientConnection
from lbproxy.proxy.exchange cimport Exchange
from lbproxy.proxy.link cimport Link
from lbproxy.proxy.worker cimport Worker
from lbproxy.wire.http1_response cimport ResponseHead
from lbproxy.wire.http1_body cimport ChunkedReader

cdef int _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL
cdef dict _FAILURES

cdef class UpstreamConnection:
    cdef public Worker worker
    cdef public Link link
    cdef public object transport
    cdef object _send
    cdef public Exchange exchange
    cdef public double idle_until
    cdef public Py_ssize_t served
    cdef public bint clean_end
    cdef object _poll
    cdef int _state
    cdef bytes _partial
    cdef long long _left
    cdef ChunkedReader _reader
    cdef bint _paused

    cpdef bint quiet(self)
    cpdef bint alive(self)
    cdef begin(self, Exchange exchange)
    cdef release(self)
    cpdef close(self)
    cpdef abort(self)
    cdef write(self, bytes data)
    cdef bint writing(self)
    cpdef pause(self)
    cpdef resume(self)

    @cython.locals(exchange=Exchange, state=int, size=Py_ssize_t)
    cpdef data_received(self, data)
    @cython.locals(exchange=Exchange)
    cpdef connection_lost(self, error)
    cpdef pause_writing(self)
    cpdef resume_writing(self)

    @cython.locals(position=Py_ssize_t, head=ResponseHead, whole=bytes)
    cdef _read_heads(self, Exchange exchange, bytes data)
    @cython.locals(
        text="const char *", position=Py_ssize_t, available=Py_ssize_t, payload=bytes,
    )
    cdef _begin_body(self, Exchange exchange, ResponseHead head, bytes data)
    @cython.locals(reader=ChunkedReader)
    cdef _read_first_chunks(
        self, Exchange exchange, ResponseHead head, bytes data, Py_ssize_t position
    )
    @cython.locals(reader=ChunkedReader)
    cdef _read_chunks(self, Exchange exchange, bytes data, Py_ssize_t position)
    cdef _upgrade(self, Exchange exchange, ResponseHead head, bytes data)
    cdef _fail(self, Exchange exchange, failure)
