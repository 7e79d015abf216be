# C types of paths.py, so that a plain path is answered in a fraction of a microsecond.
cimport cython


@cython.locals(size=cython.Py_ssize_t, i=cython.Py_ssize_t, c=cython.uchar, dots=cython.int)
cpdef bint plain(bytes path)


@cython.locals(end=cython.Py_ssize_t)
cdef bint _begins(bytes path, bytes prefix, Py_ssize_t start)


@cython.locals(size=cython.Py_ssize_t, end=cython.Py_ssize_t, segment=bytes)
cdef Py_ssize_t _after_tenant(bytes path, tuple segments, Py_ssize_t start) except -2


cdef class Visibility:
    cdef tuple _hide
    cdef tuple _expose
    cdef tuple _tenants
    cdef tuple _tenant_heads

    cpdef bint hidden(self, bytes path) except -1

    cpdef bytes hidden_by(self, bytes path)

    @cython.locals(prefix=bytes)
    cdef bytes _rule(self, bytes reading, bytes folded)

    @cython.locals(start=cython.Py_ssize_t, after=cython.Py_ssize_t, prefix=bytes)
    cdef bytes _rule_below_tenants(self, bytes folded)
