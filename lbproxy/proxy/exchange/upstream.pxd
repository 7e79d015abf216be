from lbproxy.proxy.exchange.exchange cimport Exchange

cdef class Upstream:
    cpdef begin(self, Exchange exchange)
    cpdef send_body(self, bytes payload, bint last)
    cpdef write(self, bytes data)
    cpdef pause(self)
    cpdef resume(self)
    cpdef finish(self, Exchange exchange)
    cpdef close(self)
    cpdef abort(self)
    cpdef fail(self, Exchange exchange, failure, str detail)
