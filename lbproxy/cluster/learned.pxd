import cython

cdef Py_ssize_t _MAX_LEARNED_KEY
cdef Py_ssize_t _MAX_UNTOLD
cdef double _TELL_AGAIN_S


cdef bytes _key_of(bytes value)


cdef class Owned:
    cdef public str node
    cdef public double since
    cdef public double told


cdef class Learned:
    cdef Py_ssize_t _entries
    cdef object _table
    cdef object _untold
    cdef bint _tells

    @cython.locals(key=bytes, owned=Owned)
    cpdef str find(self, bytes value, double now)

    @cython.locals(key=bytes, owned=Owned)
    cpdef void learn(self, bytes value, str node, double now) except *

    @cython.locals(key=bytes, node=str, since=cython.double, owned=Owned)
    cpdef add(self, lessons)

    @cython.locals(owned=Owned)
    cpdef list all(self)

    @cython.locals(owned=Owned)
    cdef tuple _lesson(self, bytes key)

    cdef _put(self, bytes key, str node, double since)

    cdef _use(self, bytes key, Owned owned, double now)

    cdef _tell(self, bytes key)
