import cython

from lbproxy.limits.counter cimport Counter

cdef int _ROWS
cdef int _BITS
cdef Py_ssize_t _NODES
cdef Py_ssize_t _HEAD


cdef class Board:
    cdef readonly Py_ssize_t workers
    cdef readonly Py_ssize_t columns
    cdef bytes _key
    cdef int[::1] _cells
    cdef readonly Py_ssize_t page_cells
    cdef readonly Py_ssize_t capacity

    cpdef widen(self, Py_ssize_t workers)

    @cython.locals(start=cython.Py_ssize_t, cell=cython.Py_ssize_t)
    cpdef clear(self, Py_ssize_t worker)

    cdef unsigned long long hashed(self, bytes name) except? 0

    cdef void add(self, Py_ssize_t cell, int change) noexcept

    cdef void put(self, Py_ssize_t cell, int value) noexcept

    @cython.locals(total=cython.long, at=cython.Py_ssize_t)
    cdef long elsewhere(self, Py_ssize_t cell, Py_ssize_t start) noexcept


cdef class Cell(Counter):
    cdef Board _board
    cdef Py_ssize_t _start
    cdef Py_ssize_t _cell

    cpdef void add(self, int change) noexcept

    cpdef void put(self, int value) noexcept

    cpdef long elsewhere(self) noexcept


cdef class Twin(Counter):
    cdef Cell _one
    cdef Cell _other

    cpdef void add(self, int change) noexcept

    cpdef void put(self, int value) noexcept

    @cython.locals(one=cython.long, other=cython.long)
    cpdef long elsewhere(self) noexcept


cdef class Sketch:
    cdef Board _board
    cdef Py_ssize_t _start
    cdef Py_ssize_t _first

    cpdef unsigned long long mark(self, bytes name) except? 0

    @cython.locals(board=Board, at=cython.Py_ssize_t)
    cpdef void add(self, unsigned long long mark, int change) noexcept

    @cython.locals(board=Board, at=cython.Py_ssize_t, least=cython.long, found=cython.long)
    cpdef long elsewhere(self, unsigned long long mark) noexcept


cdef class Page:
    cdef Board _board
    cdef readonly Py_ssize_t start
    cdef readonly Counter connections
    cdef readonly Counter handshakes
    cdef readonly Sketch clients
    cdef readonly Sketch shaking

    cpdef Counter requests(self, str pool, str node)
    cpdef Counter waiting(self, str pool)
