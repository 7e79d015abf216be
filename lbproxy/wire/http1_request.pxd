import cython

from lbproxy.wire.authority cimport valid_authority, without_empty_port
from lbproxy.wire.fields cimport DropRules, fold_all
from lbproxy.wire.http1_head cimport HeadLimits
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.request_rules cimport RequestRules

cdef bytes TARGET
cdef dict _METHODS
cdef frozenset _REFUSED_METHODS
cdef int CONTENT_LENGTH, LAST, LAST_OF_REQUESTS, OPTIONS, OTHER

cdef class RequestParser(RequestRules):
    cdef readonly HeadLimits limits

    @cython.locals(
        octets="const unsigned char *", n=Py_ssize_t, first=Py_ssize_t, run=Py_ssize_t,
        limits=HeadLimits, head=RequestHead, line=bytes, absolute=bint,
    )
    cpdef RequestHead parse(self, bytes data, Py_ssize_t start, bint keep_received)

    @cython.locals(
        octets="const unsigned char *", data="const char *", allowed="const unsigned char *",
        p=Py_ssize_t, line_stop=Py_ssize_t, target_start=Py_ssize_t, question=Py_ssize_t,
        head=RequestHead, method=bytes,
    )
    cdef RequestHead _line(self, Py_ssize_t first, Py_ssize_t n)

    cdef RequestHead _more(self, Py_ssize_t first, Py_ssize_t n)
    @cython.locals(start=Py_ssize_t)
    cdef Py_ssize_t _method_end(
        self, const unsigned char *octets, Py_ssize_t p, Py_ssize_t stop
    ) except -2
    @cython.locals(ends=bint)
    cdef int _version(self, const unsigned char *octets, Py_ssize_t p) except -1
    cdef bint _other_form(self, RequestHead head) except -1

    @cython.locals(
        data="const char *", kept="const unsigned char *", parts=list, left=Py_ssize_t,
        line=Py_ssize_t, step=int, kind=int, drop=bint,
    )
    cdef bint _fields(self, RequestHead head, Py_ssize_t run) except -1
    @cython.locals(data="const char *", folded=bytes)
    cdef _hold(self, RequestHead head, Py_ssize_t line)
