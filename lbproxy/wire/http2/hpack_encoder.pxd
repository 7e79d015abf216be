import cython

from lbproxy.wire.http2.hpack_table cimport DynamicTable

cdef int DEFAULT_SIZE
cdef Py_ssize_t _MOST_INDEXED, _MOST_KNOWN, _FIRST_DYNAMIC, _ROOM
cdef int _WITH_INDEXING, _WITHOUT_INDEXING, _NEVER, _SIX_BITS, _FOUR_BITS, _STATUS_NAME
cdef dict _NAME_NUMBERS, _STATUSES
cdef frozenset _INDEXED, _NEVER_INDEXED

cdef class HpackEncoder:
    cdef DynamicTable _table
    cdef dict _known
    cdef Py_ssize_t _smallest
    cdef Py_ssize_t _size
    cdef bytearray _out
    cdef Py_ssize_t _length

    @cython.locals(size=Py_ssize_t)
    cpdef allow(self, Py_ssize_t most)

    @cython.locals(number=int, digits=bytes)
    cpdef bytes encode(self, int status, bytes lines)
    cpdef bytes encode_trailers(self, bytes lines)
    @cython.locals(room=Py_ssize_t)
    cdef _begin(self, bytes lines)

    @cython.locals(
        octets="const unsigned char *", start=Py_ssize_t, end=Py_ssize_t, stop=Py_ssize_t
    )
    cdef _lines(self, bytes lines)

    @cython.locals(
        octets="const unsigned char *", table=DynamicTable, line=bytes, age=Py_ssize_t,
        colon=Py_ssize_t, first=Py_ssize_t, name=bytes, number=Py_ssize_t,
    )
    cdef _line(self, bytes lines, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(
        octets="const unsigned char *", out="unsigned char *", length=Py_ssize_t, at=Py_ssize_t
    )
    cdef _string(self, bytes text, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(out="unsigned char *", length=Py_ssize_t)
    cdef _integer(self, int first, int mask, Py_ssize_t value)
