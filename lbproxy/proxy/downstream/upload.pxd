cimport cython

from lbproxy.proxy.downstream.http1 cimport ClientConnection
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.worker cimport Worker
from lbproxy.wire.http1_body cimport RequestBody

cdef int WAITING
cdef Py_ssize_t _GATHER_BYTES, _GATHER_ABOVE, _DENSE_FROM

cdef class Upload:
    cdef ClientConnection client
    cdef Exchange exchange
    cdef RequestBody _body
    cdef bint _may_gather
    cdef bint _gathering
    cdef double _heard_at

    @cython.locals(client=ClientConnection)
    cdef begin(self, Exchange exchange, long long length)
    @cython.locals(
        client=ClientConnection, worker=Worker, position=Py_ssize_t, body=RequestBody,
        received="long long",
    )
    cdef Py_ssize_t hear(self, bytes data) except -1
    @cython.locals(body=RequestBody, exchange=Exchange, client=ClientConnection, payload=bytes)
    cdef Py_ssize_t read(self, bytes data, Py_ssize_t position) except -1
    @cython.locals(client=ClientConnection)
    cdef _complete(self, Exchange exchange, bytes trailers)
    @cython.locals(client=ClientConnection, exchange=Exchange)
    cdef cut_off(self)
    cpdef bint stalls(self, double now) except -1
    @cython.locals(client=ClientConnection)
    cdef _gather(self)
    @cython.locals(client=ClientConnection)
    cpdef stop_gathering(self)
