import cython

from lbproxy.wire.fields cimport FieldCursor
from lbproxy.wire.http1_head cimport HeadLimits

cdef class PartialHead(FieldCursor):
    cdef HeadLimits _limits
    cdef bytearray _held
    cdef Py_ssize_t _read
    cdef Py_ssize_t _lines

    @cython.locals(held=bytearray, size=Py_ssize_t, step=int)
    cpdef bint feed(self, bytes data) except -1
    cpdef bytes whole(self)
