import cython

from lbproxy.wire.edit cimport without_lines
from lbproxy.wire.fields cimport FieldCursor
from lbproxy.wire.http1_head cimport HeadLimits

cdef bytes REASON
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

    @cython.locals(
        b="const unsigned char *", reason="const unsigned char *",
        n=Py_ssize_t, p=Py_ssize_t, stop=Py_ssize_t, run=Py_ssize_t, status=int,
        limits=HeadLimits, head=ResponseHead,
    )
    cpdef ResponseHead parse(self, bytes data, Py_ssize_t start, int method_id, bint cookies)

    @cython.locals(
        b="const unsigned char *", text="const char *", parts=list, count=Py_ssize_t, line=Py_ssize_t,
        size=Py_ssize_t, step=int, first=int, status=int,
        has_length=bint, respell=bint, coded=bint, doubtful=bint, never_body=bint,
        bodiless=bint, drop=bint,
    )
    cdef bint _fields(
        self, ResponseHead head, Py_ssize_t run, int method_id, bint cookies
    ) except -1
