import cython

from lbproxy.wire.authority cimport valid_authority, without_empty_port
from lbproxy.wire.edit cimport without_lines
from lbproxy.wire.fields cimport DropRules, FieldCursor, fold_all
from lbproxy.wire.http1_head cimport HeadLimits
from lbproxy.wire.request_head cimport RequestHead

cdef bytes TARGET
cdef bytes _REQUEST_ID
cdef dict _METHODS
cdef frozenset _REFUSED_METHODS
cdef frozenset _CONNECTION_KNOWN

cdef class RequestParser(FieldCursor):
    cdef readonly HeadLimits limits
    cdef DropRules drops

    @cython.locals(
        b="const unsigned char *", text="const char *", target_bytes="const unsigned char *",
        n=Py_ssize_t, p=Py_ssize_t, first=Py_ssize_t, stop=Py_ssize_t, line_stop=Py_ssize_t,
        token=Py_ssize_t, target_start=Py_ssize_t, target_end=Py_ssize_t, question=Py_ssize_t,
        run=Py_ssize_t, limits=HeadLimits, head=RequestHead, method=bytes, request_line=bytes, absolute=bint,
    )
    cpdef RequestHead parse(self, bytes data, Py_ssize_t start, bint keep_received)

    @cython.locals(start=Py_ssize_t)
    cdef Py_ssize_t _method_end(
        self, const unsigned char *b, Py_ssize_t p, Py_ssize_t stop
    ) except -2

    cdef _need_line(self, Py_ssize_t first, Py_ssize_t n)
    cdef _need_head(self, Py_ssize_t first, Py_ssize_t n)

    cdef bint _other_form(self, RequestHead head) except -1

    @cython.locals(
        b="const unsigned char *", text="const char *", drops=DropRules, parts=list,
        count=Py_ssize_t, left=Py_ssize_t, line=Py_ssize_t, size=Py_ssize_t, step=int, first=int,
        has_length=bint, respell=bint, respell_host=bint, has_host=bint, coded=bint, close=bint, keep=bint, upgrade=bint, wants_upgrade=bint, drop=bint,
        name=bytes, host=bytes, value=bytes, members=Py_ssize_t, forwarded=Py_ssize_t,
    )
    cdef Py_ssize_t _fields(
        self, RequestHead head, Py_ssize_t run, bint absolute, bint keep_received
    ) except -2

    @cython.locals(value=bytes)
    cdef _read_max_forwards(self, RequestHead head)
    @cython.locals(b="const unsigned char *", allowed="const unsigned char *", p=Py_ssize_t)
    cdef bint _valid_request_id(self)

    @cython.locals(parts=list)
    cdef _remove_nominated(self, RequestHead head, nominated)
