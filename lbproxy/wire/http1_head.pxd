import cython

cdef class HeadLimits:
    cdef readonly Py_ssize_t line
    cdef readonly Py_ssize_t head
    cdef readonly Py_ssize_t fields
