cimport cython

from lbproxy.wire.ajp13_request cimport Facts
from lbproxy.wire.request_head cimport RequestHead

cdef class Asker:
    cdef readonly str address
    cdef readonly bint trusted
    cdef readonly bint https
    cdef readonly str tls_version
    cdef readonly bytes authority
    cdef object _rules
    cdef object _tls
    cdef Asker _peer
    cdef Facts _facts
    cdef bytes _host
    cdef bytes _lines

    @cython.locals(made=Asker)
    cpdef Asker of(self, RequestHead head)
    cpdef bytes lines(self, bytes host)
    @cython.locals(facts=Facts)
    cpdef Facts facts(self, transport)
    cdef Facts _facts_of_peer(self, transport)
