cimport cython

from lbproxy.proxy.transport.pipe cimport Pipe

cdef Py_ssize_t _READ_BYTES, _MAX_UNREAD
cdef int _TURN_RECORDS, _ABOVE, HELD

cdef class TlsLayer:
    cdef Pipe _raw
    cdef object _protocol
    cdef object _incoming
    cdef object _outgoing
    cdef object _object
    cdef object _inner
    cdef object _read
    cdef object _write
    cdef bint _closing
    cdef bint _asks
    cdef object _fault
    cdef bytes _rest
    cdef bint _whole
    cdef bint _full
    cdef Py_ssize_t _unread
    cdef Py_ssize_t _late
    cdef bytes _held
    cdef int _header
    cdef int _high
    cdef Py_ssize_t _body

    cpdef begin(self)
    cpdef settled(self, chosen)
    cpdef failed(self, error)
    cpdef data_received(self, data)
    cpdef write(self, data)
    cpdef close(self)
    cpdef abort(self)
    cpdef bint silent(self)
    @cython.locals(end=Py_ssize_t)
    cdef _take(self, bytes data)
    @cython.locals(held=bytes)
    cpdef _go_on(self)
    cdef bint _idle(self) except -1
    @cython.locals(b="const unsigned char *", size=Py_ssize_t, p=Py_ssize_t, step=Py_ssize_t, records=int)
    cdef Py_ssize_t _end_of_turn(self, bytes data) except -1
    cpdef bint _shake_hands(self) except -1
    cpdef unread(self)
    cdef _read_rest(self)
    cdef _read_plain(self)
    cdef _end_of_input(self)
    cdef _flush(self)
