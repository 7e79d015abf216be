cdef bytes _RESET

cdef class Pipe:
    cdef public object transport
    cdef object send
    cdef public int blocked
    cdef public Py_ssize_t unsent

    cpdef open(self, transport)
    cpdef lost(self)
    cpdef write(self, bytes data)
    cpdef Py_ssize_t waiting(self) except -1
    cpdef watch(self)
    cpdef bint moved(self) except -1
    cpdef block(self, int why)
    cpdef unblock(self, int why)
    cpdef breathe(self, then)
    cpdef _breathed(self, then)
    cdef _listen(self)
    cpdef bint alive(self) except -1
    cpdef close(self)
    cpdef abort(self)
