cimport cython

from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.rules cimport Rules
from lbproxy.proxy.transport.pipe cimport Pipe
from lbproxy.wire.http1_body cimport RequestBody

cdef Py_ssize_t _GATHER_BYTES, _GATHER_ABOVE, _DENSE_FROM

cdef class Upload:
    cdef Desk _desk
    cdef Pipe _pipe
    cdef set _all_gathering
    cdef bint _secure
    cdef object _breathed
    cdef Exchange _exchange
    cdef RequestBody _body
    cdef bint _may_gather
    cdef bint _gathering
    cdef double _heard_at

    @cython.locals(rules=Rules)
    cpdef begin(self, Exchange exchange, long long length)
    @cython.locals(position=Py_ssize_t, body=RequestBody, exchange=Exchange, received="long long")
    cpdef Py_ssize_t hear(self, bytes data) except -1
    @cython.locals(body=RequestBody, exchange=Exchange, payload=bytes)
    cpdef Py_ssize_t read(self, bytes data, Py_ssize_t position) except -1
    cpdef bint stalls(self, double now) except -1
    cdef _gather(self)
    cpdef stop_gathering(self)
