cdef class ClientView:
    cdef readonly object rules
    cdef readonly str peer
    cdef readonly bint trusted
    cdef readonly str client_address
    cdef readonly bytes scheme
    cdef bytes _listener_scheme
    cdef bytes _host
    cdef bytes _lines

    cpdef bytes lines(self, bytes host)
    cpdef bytes believed_lines(self, bytes host, list received)
