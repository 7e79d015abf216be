cimport cython

cdef int OTHER, POST
cdef long long NO_BODY

@cython.freelist(64)
cdef class RequestHead:
    cdef public Py_ssize_t end
    cdef public bytes method
    cdef public int method_id
    cdef public bint refused_method
    cdef public bytes path
    cdef public tuple readings
    cdef public bytes target
    cdef public bytes asked
    cdef public bytes authority
    cdef public bint http10
    cdef public bint keep_alive
    cdef public long long length
    cdef public bint expect
    cdef public bint websocket
    cdef public bytes request_id
    cdef public list cookies
    cdef public list received
    cdef public list held
    cdef public long max_forwards
    cdef public list parts
    cdef public Py_ssize_t line_size

    cpdef bint idempotent(self)
