# C types of routes.py, so that a lookup costs a few dictionary accesses and nothing else.
cimport cython


cdef class _Group:
    cdef readonly dict first
    cdef readonly Py_ssize_t longest


cdef class _Chain:
    cdef readonly Py_ssize_t root
    cdef readonly tuple groups

    @cython.locals(best=cython.Py_ssize_t, group=_Group)
    cdef Py_ssize_t find(self, bytes path) except -1


@cython.locals(size=cython.Py_ssize_t, end=cython.Py_ssize_t, index=object)
cdef Py_ssize_t _find(dict first, Py_ssize_t longest, bytes path, Py_ssize_t best) except -1


cdef class RouteFinder:
    cdef dict _exact
    cdef dict _suffixes
    cdef _Chain _any

    cpdef Py_ssize_t find(self, bytes host, bytes path) except -1

    @cython.locals(chain=_Chain)
    cpdef Py_ssize_t everywhere(self, bytes host) except -2

    @cython.locals(size=cython.Py_ssize_t, dot=cython.Py_ssize_t, chain=_Chain)
    cdef _Chain _chain(self, bytes host)
