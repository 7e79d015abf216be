cimport cython

from lbproxy.proxy.client cimport ClientConnection
from lbproxy.proxy.worker cimport Worker

cdef Py_ssize_t _READ_BYTES

cdef class TlsLayer:
    cdef public Worker worker
    cdef public ClientConnection client
    cdef public double deadline
    cdef object _raw
    cdef public str peer
    cdef public bint admitted
    cdef object _send
    cdef object _incoming
    cdef object _outgoing
    cdef object _object
    cdef object _read
    cdef object _write
    cdef bint _established
    cdef bint _closing
    cdef bint _paused

    cpdef data_received(self, data)
    cpdef write(self, data)
    cpdef close(self)
    cpdef abort(self)
    cdef bint _shake_hands(self) except -1
    cpdef _read_plain(self)
    cdef _end_of_input(self)
    cdef _flush(self)
