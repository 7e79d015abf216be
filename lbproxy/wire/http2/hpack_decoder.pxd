import cython

from lbproxy.wire.http2.hpack_table cimport DynamicTable
from lbproxy.wire.http2.huffman cimport decode as decode_huffman

cdef int ENTRY_OVERHEAD, _MOST_SHIFT, _MOST_RESIZES

cdef class HpackDecoder:
    cdef Py_ssize_t _most
    cdef DynamicTable _table
    cdef readonly list fields
    cdef bytes _block
    cdef Py_ssize_t _at
    cdef Py_ssize_t _stop

    @cython.locals(
        octets="const unsigned char *", fields=list, table=DynamicTable, left=Py_ssize_t,
        resizes=int, wanted=bint, first="unsigned char", number=Py_ssize_t, name=bytes, value=bytes,
        size=Py_ssize_t,
    )
    cpdef bint decode(self, bytes block, Py_ssize_t most_fields, Py_ssize_t most_octets) except -1

    @cython.locals(
        octets="const unsigned char *", at=Py_ssize_t, stop=Py_ssize_t, value=Py_ssize_t, shift=int,
        octet="unsigned char",
    )
    cdef Py_ssize_t _integer(self, unsigned char mask) except -1

    @cython.locals(packed=bint, length=Py_ssize_t, start=Py_ssize_t, octets="const unsigned char *")
    cdef bytes _string(self)
