import cython

from lbproxy.wire.fields cimport DropRules, FieldCursor

cdef bytes HEX
cdef bytes EXTENSION
cdef frozenset _NEVER_TRAILERS
cdef int _SIZE, _EXTENSION, _SIZE_LF, _DATA, _DATA_CR, _DATA_LF, _TRAILERS, _DONE

cdef class BodyLimits:
    cdef readonly Py_ssize_t line
    cdef readonly Py_ssize_t trailers
    cdef readonly Py_ssize_t fields

@cython.freelist(64)
cdef class ChunkedReader:
    cdef BodyLimits limits
    cdef DropRules drops
    cdef object _malformed
    cdef bint _lenient
    cdef readonly bint done
    cdef readonly Py_ssize_t position
    cdef readonly bytes trailers
    cdef int _state
    cdef long long _left
    cdef Py_ssize_t _digits
    cdef Py_ssize_t _line
    cdef Py_ssize_t _extensions
    cdef bytes _tail
    cdef Py_ssize_t _taken
    cdef list _kept
    cdef Py_ssize_t _count

    @cython.locals(
        octets="const unsigned char *", extension="const unsigned char *",
        n=Py_ssize_t, p=Py_ssize_t, end=Py_ssize_t, state=int, digit=int,
        payload=bytes, piece=bytes, parts=list,
    )
    cpdef bytes feed(self, bytes data, Py_ssize_t start)

    @cython.locals(
        before=Py_ssize_t, piece=bytes, tail=bytes, cursor=FieldCursor, line=Py_ssize_t,
        step=int, name=bytes, consumed=Py_ssize_t,
    )
    cdef Py_ssize_t _read_trailers(self, bytes data, Py_ssize_t p) except -2
    cdef object _excess(self, of_request)

@cython.freelist(64)
cdef class RequestBody:
    cdef readonly bint done
    cdef readonly Py_ssize_t position
    cdef readonly long long received
    cdef readonly long long left
    cdef readonly bytes trailers
    cdef ChunkedReader _reader

    @cython.locals(size="long long", reader=ChunkedReader, payload=bytes)
    cpdef bytes feed(self, bytes data, Py_ssize_t start)
