from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.downstream.clients cimport Clients
from lbproxy.proxy.transport.tls_layer cimport TlsLayer

cdef class DownstreamTls(TlsLayer):
    cdef public double deadline
    cdef public str peer
    cdef public bint admitted
    cdef Desk _desk
    cdef Clients _clients
    cdef public object listener
    cdef object _proxy_header
    cdef object _make

    cpdef begin(self)
    cpdef settled(self, chosen)
    cpdef failed(self, error)
    cpdef expire(self)
