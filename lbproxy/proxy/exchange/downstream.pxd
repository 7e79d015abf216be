from lbproxy.wire.ajp13_request cimport Facts
from lbproxy.wire.http1_response cimport ResponseHead

cdef class Downstream:
    cdef public bint write_paused

    cpdef Facts facts(self)
    cpdef respond(self, ResponseHead head, bytes payload, bint complete)
    cpdef body(self, bytes payload, bint complete)
    cpdef interim(self, ResponseHead head)
    cpdef tunnel(self, ResponseHead head)
    cpdef write(self, bytes data)
    cpdef answer(self, answer)
    cpdef cut(self)
    cpdef hold(self, int why)
    cpdef go_on(self, int why)
    cpdef bint moved(self) except -1
    cpdef finish(self)
    cpdef over(self)
