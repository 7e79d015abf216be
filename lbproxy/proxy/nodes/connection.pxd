from lbproxy.proxy.transport.pipe cimport Pipe

cdef class Connection(Pipe):
    cdef public object speaker
    cdef public bint secure
    cdef public str address
    cdef public double idle_since
    cdef public double idle_until
    cdef public Py_ssize_t served
    cdef object _poll

    cpdef bint quiet(self) except -1
    cpdef bint silent(self) except -1
