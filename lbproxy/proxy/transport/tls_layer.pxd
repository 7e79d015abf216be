cimport cython

cdef Py_ssize_t _READ_BYTES, _MAX_UNREAD
cdef int _TURN_RECORDS

cdef class TlsLayer:
    cdef readonly object _raw
    cdef object _protocol
    cdef object _send
    cdef object _incoming
    cdef object _outgoing
    cdef object _object
    cdef object _read
    cdef object _write
    cdef bint _established
    cdef bint _closing
    cdef bint _asks
    cdef object _fault
    cdef bytes _rest
    cdef bint _whole
    cdef bint _paused
    cdef bint _full
    cdef Py_ssize_t _unread
    cdef bytes _held
    cdef bint _called
    cdef int _header
    cdef int _high
    cdef Py_ssize_t _body

    cpdef begin(self)
    cpdef settled(self)
    cpdef failed(self, error)
    cpdef data_received(self, data)
    cpdef write(self, data)
    cpdef close(self)
    cpdef abort(self)
    cpdef bint silent(self)
    @cython.locals(end=Py_ssize_t)
    cdef _take(self, bytes data)
    cdef _go_on_soon(self)
    @cython.locals(held=bytes)
    cpdef _go_on(self)
    cdef _listen(self)
    @cython.locals(b="const unsigned char *", size=Py_ssize_t, p=Py_ssize_t, step=Py_ssize_t, records=int)
    cdef Py_ssize_t _end_of_turn(self, bytes data) except -1
    cpdef bint _shake_hands(self) except -1
    cpdef unread(self)
    cdef _read_rest(self, raw)
    cdef _read_plain(self)
    cdef _end_of_input(self)
    cdef _flush(self)
