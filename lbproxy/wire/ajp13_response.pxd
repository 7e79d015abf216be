import cython

from lbproxy.wire.edit cimport without_lines
from lbproxy.wire.fields cimport FieldCursor
from lbproxy.wire.http1_head cimport HeadLimits
from lbproxy.wire.http1_response cimport ResponseHead

cdef bytearray _SCRATCH
cdef bytes NAME
cdef bytes TEXT
cdef list _STATUS_LINES
cdef frozenset _FRAMING_NAMES
cdef str _TOO_LARGE
cdef frozenset _CONNECTION_KNOWN
cdef int _NEED_MORE, _HEAD, _BODY, _GET_BODY, _END, _PONG
cdef int _CHUNKED, _NO_BODY, _HEAD_METHOD
cdef tuple _NAMES
cdef int _SEND_BODY_CHUNK, _SEND_HEADERS, _END_RESPONSE, _GET_BODY_CHUNK, _CPONG
cdef int _IDLE, _HEADING, _ANSWERING, _BROKEN, _STATUS_400

cdef class Ajp13Reader(FieldCursor):
    cdef HeadLimits limits
    cdef readonly ResponseHead head
    cdef readonly bint dated
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
    cdef int _status
    cdef long long _left
    cdef bint _bodiless
    cdef int _method_id
    cdef bint _cookies

    cpdef expect(self, int method_id, bint cookies)
    cpdef bint empty(self)
    cpdef bint whole(self)
    cpdef feed(self, bytes data)
    cpdef int next(self) except -1

    @cython.locals(
        b="const unsigned char *", text="const char *",
        size=Py_ssize_t, p=Py_ssize_t, kind=int, phase=int, count=Py_ssize_t,
    )
    cdef int _next(self) except -1

    @cython.locals(b="const unsigned char *", p=Py_ssize_t, have=Py_ssize_t, need=Py_ssize_t)
    cdef Py_ssize_t _packet(self) except -2
    @cython.locals(b="const char *", n=Py_ssize_t, rest=bytes)
    cdef _hold(self, Py_ssize_t need)
    @cython.locals(text="const char *", held=bytearray, n=Py_ssize_t, end=Py_ssize_t)
    cdef _fill(self, bytes data, Py_ssize_t start)
    cdef _no_packet(self)

    @cython.locals(
        b="const unsigned char *", out="unsigned char *",
        written="const char *", value="const unsigned char *",
        stop=Py_ssize_t, status=int, size=Py_ssize_t, left=int, head=ResponseHead,
        bodiless=bint, length="long long", announced="long long", has_length=bint,
        q=Py_ssize_t, line=Py_ssize_t, drop=bint, code=int, first=int, i=Py_ssize_t,
    )
    cdef ResponseHead _read_head(self, Py_ssize_t p, Py_ssize_t end)

    @cython.locals(b="const unsigned char *", out="unsigned char *", name=bytes, n=Py_ssize_t, i=Py_ssize_t)
    cdef Py_ssize_t _write_name(self, int code, Py_ssize_t q, Py_ssize_t stop) except -1
    @cython.locals(
        b="const unsigned char *", out="unsigned char *", token="const unsigned char *",
        marks=int, spaced=bint, i=Py_ssize_t,
    )
    cdef Py_ssize_t _copy_name(
        self, Py_ssize_t p, Py_ssize_t size, Py_ssize_t q, Py_ssize_t stop
    ) except -1
    @cython.locals(out="unsigned char *", text=bytes, i=Py_ssize_t)
    cdef Py_ssize_t _write_length(self, long long length, Py_ssize_t q) except -1
    @cython.locals(b="const unsigned char *", p=Py_ssize_t, end=Py_ssize_t)
    cdef _trim(self)
