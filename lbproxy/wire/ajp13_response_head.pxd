import cython

from lbproxy.wire.edit cimport without_nominated
from lbproxy.wire.fields cimport FieldCursor
from lbproxy.wire.http1_head cimport HeadLimits
from lbproxy.wire.http1_response cimport ResponseHead

cdef bytearray _SCRATCH
cdef bytes TOKEN, _KINDS
cdef int ODD
cdef int CONNECTION, CONTENT_LENGTH, DATE, FIRST_OF_ANSWERS, LAST_OF_ANSWERS, SET_COOKIE
cdef list _STATUS_LINES
cdef frozenset _FRAMING_NAMES, _CONNECTION_KNOWN
cdef int _CHUNKED, _NO_BODY, _HEAD_METHOD
cdef tuple _NAMES

cdef class Ajp13HeadReader(FieldCursor):
    cdef HeadLimits limits
    cdef readonly bint dated
    cdef int status
    cdef long long left
    cdef bint bodiless
    cdef int method_id
    cdef bint cookies
    cdef Py_ssize_t _written
    cdef Py_ssize_t _room
    cdef bint _has_length
    cdef set _nominated

    @cython.locals(
        octets="const unsigned char *", out="const char *", left=int, head=ResponseHead
    )
    cdef ResponseHead read_head(self, Py_ssize_t p, Py_ssize_t end)
    @cython.locals(octets="const unsigned char *", status=int, size=Py_ssize_t)
    cdef Py_ssize_t _read_status(self, Py_ssize_t p, Py_ssize_t end) except -1
    @cython.locals(
        octets="const unsigned char *", out="unsigned char *", line=Py_ssize_t, kind=int, size=Py_ssize_t, q=Py_ssize_t, i=Py_ssize_t,
    )
    cdef Py_ssize_t _read_field(
        self, ResponseHead head, Py_ssize_t p, Py_ssize_t end
    ) except -1
    cdef bint _apply(self, ResponseHead head, int kind) except -1
    @cython.locals(
        octets="const unsigned char *", size=Py_ssize_t, length="long long", repeated=bint,
        spaced=bint,
    )
    cdef bint _content_length(self) except -1
    @cython.locals(
        octets="const unsigned char *", out="unsigned char *", kinds="const unsigned char *",
        name=bytes, n=Py_ssize_t, q=Py_ssize_t, i=Py_ssize_t,
    )
    cdef int _write_name(self, int code) except -1
    @cython.locals(
        octets="const unsigned char *", out="unsigned char *", token="const unsigned char *",
        marks=int, spaced=bint, q=Py_ssize_t, i=Py_ssize_t,
    )
    cdef _copy_name(self, Py_ssize_t p, Py_ssize_t size)
    @cython.locals(out="unsigned char *", text=bytes, i=Py_ssize_t)
    cdef Py_ssize_t _write_length(self, long long length, Py_ssize_t q) except -1
    @cython.locals(octets="const unsigned char *", p=Py_ssize_t, end=Py_ssize_t)
    cdef _trim(self)
