import cython

from lbproxy.wire.edit cimport without_lines, without_nominated
from lbproxy.wire.fields cimport FieldCursor
from lbproxy.wire.http1_head cimport HeadLimits

cdef bytes VALUE
cdef int HEAD
cdef long long CHUNKED, NO_BODY, UNTIL_CLOSE
cdef int CONNECTION, CONTENT_LENGTH, DATE, FIRST_OF_ANSWERS, LAST_OF_ANSWERS, SET_COOKIE
cdef int TRANSFER_ENCODING, UPGRADE
cdef frozenset _CONNECTION_KNOWN, _LENGTH

@cython.freelist(64)
cdef class ResponseHead:
    cdef public Py_ssize_t end
    cdef public int status
    cdef public bint http10
    cdef public bint keep_alive
    cdef public long long length
    cdef public bint upgrade
    cdef public bint dated
    cdef public bint surplus
    cdef public list set_cookies
    cdef public list parts

cdef class ResponseParser(FieldCursor):
    cdef HeadLimits limits
    cdef bint _cookies
    cdef bint _never_body
    cdef bint _bodiless
    cdef bint _has_length
    cdef bint _respell
    cdef bint _coded
    cdef bint _doubtful
    cdef set _nominated

    @cython.locals(n=Py_ssize_t, run=Py_ssize_t, limits=HeadLimits, head=ResponseHead)
    cpdef ResponseHead parse(self, bytes data, Py_ssize_t start, int method_id, bint cookies)

    cdef ResponseHead _more(self, Py_ssize_t start, Py_ssize_t n)
    @cython.locals(
        octets="const unsigned char *", reason="const unsigned char *", begin=bytes,
        p=Py_ssize_t, stop=Py_ssize_t, status=int, head=ResponseHead,
    )
    cdef ResponseHead _line(self, Py_ssize_t start, Py_ssize_t n)
    cdef _start(self, int status, bint cookies)

    @cython.locals(
        data="const char *", parts=list, left=Py_ssize_t, line=Py_ssize_t, step=int, kind=int,
    )
    cdef bint _fields(self, ResponseHead head, Py_ssize_t run) except -1
    cdef bint _apply(self, ResponseHead head, int kind) except -1
    cdef bint _content_length(self, ResponseHead head) except -1
    cdef _connection(self, ResponseHead head)
    @cython.locals(parts=list)
    cdef _finish(self, ResponseHead head, int method_id)
