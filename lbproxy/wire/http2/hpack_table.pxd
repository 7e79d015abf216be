import cython

cdef list _NAMES, _VALUES
cdef Py_ssize_t _STATIC_COUNT, _SLACK, _OVERHEAD

cdef class DynamicTable:
    cdef readonly Py_ssize_t limit
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t inserted
    cdef list _names
    cdef list _values
    cdef Py_ssize_t _first

    cpdef Py_ssize_t count(self) except -1
    @cython.locals(at=Py_ssize_t)
    cpdef bytes name(self, Py_ssize_t number)
    @cython.locals(at=Py_ssize_t)
    cpdef bytes value(self, Py_ssize_t number)
    @cython.locals(size=Py_ssize_t)
    cpdef bint add(self, bytes name, bytes value) except -1
    cpdef resize(self, Py_ssize_t limit)
    @cython.locals(names=list, values=list, first=Py_ssize_t)
    cdef _shrink(self, Py_ssize_t size)
