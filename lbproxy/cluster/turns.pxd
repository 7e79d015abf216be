import cython

cdef double _EPSILON


cdef class Turn:
    cdef readonly Py_ssize_t index
    cdef Py_ssize_t rank
    cdef double weight
    cdef double start
    cdef double deadline
    cdef double key


cdef bint _before(Turn one, Turn other)

@cython.locals(index=cython.Py_ssize_t, parent=cython.Py_ssize_t, above=Turn)
cdef void _push(list heap, Turn turn, double key)

@cython.locals(
    size=cython.Py_ssize_t,
    index=cython.Py_ssize_t,
    child=cython.Py_ssize_t,
    first=Turn,
    turn=Turn,
    below=Turn,
)
cdef Turn _pop(list heap)


cdef class Schedule:
    cdef list _turns
    cdef list _ready
    cdef list _waiting
    cdef double _time
    cdef double _total

    cpdef void clear(self)

    @cython.locals(turn=Turn)
    cpdef void add(self, Py_ssize_t rank, double weight, double lead)

    @cython.locals(turn=Turn)
    cpdef double lead(self, Py_ssize_t index)

    @cython.locals(turn=Turn)
    cpdef Turn take(self, bint on_time)

    cpdef void put_back(self, Turn turn)

    cpdef void serve(self, Turn turn, double weight)

    cpdef bint is_long(self)
