cimport cython

from lbproxy.proxy.exchange.downstream cimport Downstream
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.transport.pipe cimport Pipe
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.http1_response cimport ResponseHead

cdef Py_ssize_t _JOIN_BELOW
cdef int HEAD, SLOW_NODE, NO_NODE
cdef long long CHUNKED, UNTIL_CLOSE

cdef class Http1Answers(Downstream):
    cdef public Pipe pipe
    cdef public Exchange exchange
    cdef public bint closing
    cdef bint _chunked

    @cython.locals(exchange=Exchange, http10=bint, parts=list)
    cpdef respond(self, ResponseHead head, bytes payload, bint complete)
    @cython.locals(exchange=Exchange)
    cpdef body(self, bytes payload, bint complete)
    @cython.locals(exchange=Exchange)
    cpdef interim(self, ResponseHead head)
    @cython.locals(exchange=Exchange)
    cpdef answer(self, answer)
    @cython.locals(exchange=Exchange)
    cdef Exchange detach(self)

cpdef bytes as_http1(answer, RequestHead head, bint close)
