import cython

from lbproxy.wire.ajp13_response_head cimport Ajp13HeadReader
from lbproxy.wire.http1_response cimport ResponseHead

cdef int _NEED_MORE, _HEAD, _BODY, _GET_BODY, _END, _PONG
cdef int _SEND_BODY_CHUNK, _SEND_HEADERS, _END_RESPONSE, _GET_BODY_CHUNK, _CPONG
cdef int _IDLE, _HEADING, _ANSWERING, _BROKEN, _STATUS_400

cdef class Ajp13Reader(Ajp13HeadReader):
    cdef readonly ResponseHead head
    cdef readonly bytes payload
    cdef readonly int wanted
    cdef readonly bint reuse
    cdef readonly long long missing
    cdef bytearray _held
    cdef Py_ssize_t _need
    cdef bytes _rest
    cdef Py_ssize_t _rest_at
    cdef bint _spoken
    cdef int _phase

    cpdef expect(self, int method_id, bint cookies)
    cpdef bint empty(self)
    cpdef bint whole(self)
    cpdef feed(self, bytes data)
    cpdef int next(self) except -1

    @cython.locals(
        octets="const unsigned char *", data="const char *",
        size=Py_ssize_t, p=Py_ssize_t, kind=int, phase=int, count=Py_ssize_t,
    )
    cdef int _next(self) except -1

    @cython.locals(octets="const unsigned char *", p=Py_ssize_t, have=Py_ssize_t, need=Py_ssize_t)
    cdef Py_ssize_t _packet(self) except -2
    @cython.locals(data="const char *", n=Py_ssize_t, rest=bytes)
    cdef _hold(self, Py_ssize_t need)
    @cython.locals(chars="const char *", held=bytearray, n=Py_ssize_t, end=Py_ssize_t)
    cdef _fill(self, bytes data, Py_ssize_t start)
    cdef _no_packet(self)
