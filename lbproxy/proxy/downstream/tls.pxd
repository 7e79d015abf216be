from lbproxy.proxy.downstream.http1 cimport ClientConnection
from lbproxy.proxy.transport.tls_layer cimport TlsLayer
from lbproxy.proxy.worker cimport Worker

cdef class DownstreamTls(TlsLayer):
    cdef public Worker worker
    cdef public ClientConnection client
    cdef public double deadline
    cdef public str peer
    cdef public bint admitted

    cpdef begin(self)
    cpdef settled(self)
    cpdef failed(self, error)
