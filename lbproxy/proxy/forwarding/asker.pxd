import cython

from lbproxy.wire.ajp13_request cimport Facts
from lbproxy.wire.request_head cimport RequestHead

cdef class ClientView:
    cdef readonly object rules
    cdef readonly str peer
    cdef readonly bint trusted
    cdef readonly str client_address
    cdef readonly bytes scheme
    cdef readonly bytes authority
    cdef object _tls
    cdef bytes _peer_scheme
    cdef bytes _believed
    cdef Facts _facts
    cdef bytes _host
    cdef bytes _lines

    cpdef bint asked_https(self)
    cpdef bytes lines(self, bytes host)
    cpdef hear(self, RequestHead head)
    cpdef bytes believed_lines(self, bytes host, list received)
    @cython.locals(facts=Facts)
    cpdef Facts facts(self, transport)
    cdef Facts _facts_of_peer(self, transport)
    @cython.locals(forwarded=bytes)
    cpdef bytes own_lines(self, RequestHead head, bytes request_id)
