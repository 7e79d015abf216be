cimport cython

cdef double _LINGER_S, _LINGER_MOST_S
cdef bytes _RESET
cdef Py_ssize_t _PIPELINE_BYTES

cdef class Downstream:
    cdef double write_timeout
    cdef public bint secure
    cdef public object transport
    cdef object send
    cdef public int phase
    cdef public double deadline
    cdef public bint closing
    cdef public bint write_paused
    cdef public Py_ssize_t unsent
    cdef public int blocked
    cdef bytes pending
    cdef double _linger_until

    cdef write(self, bytes data)
    cpdef bint overdue(self, double now)
    cpdef close(self, double now)
    cdef block(self, int why)
    cdef unblock(self, int why)
    cdef hold_back(self, bytes data)
    cdef breathe(self)
    cpdef breathed(self)
    cdef close_after(self, bint complete, double now)
    cdef linger(self, double now)
    cpdef abort_transport(self)
