cimport cython

from lbproxy.proxy.record cimport Record
from lbproxy.proxy.forwarding.asker cimport Asker
from lbproxy.wire.request_head cimport RequestHead

cdef bytes _SAFE
cdef Py_ssize_t _ROOM, _FLUSH_BYTES

@cython.locals(source="const unsigned char *", i=Py_ssize_t)
cdef Py_ssize_t _put(unsigned char *out, Py_ssize_t end, bytes piece)

@cython.locals(digits=Py_ssize_t, rest="unsigned long long", at=Py_ssize_t)
cdef Py_ssize_t _put_number(unsigned char *out, Py_ssize_t end, unsigned long long number)

@cython.locals(microseconds="unsigned long long", fraction="unsigned int")
cdef Py_ssize_t _put_milliseconds(unsigned char *out, Py_ssize_t end, double seconds)

@cython.locals(
    source="const unsigned char *", safe="const unsigned char *", i=Py_ssize_t,
    byte="unsigned char",
)
cdef Py_ssize_t _put_string(
    unsigned char *out, Py_ssize_t end, bytes value, Py_ssize_t size
) except -1

cdef bytes _escaped(bytes value)

cpdef bytes masked(bytes path)

@cython.locals(
    source="const unsigned char *", size=Py_ssize_t, i=Py_ssize_t, careful=bint,
    byte="unsigned char",
)
cdef Py_ssize_t _put_path(unsigned char *out, Py_ssize_t end, bytes target) except -1

cdef class AccessLog:
    cdef readonly long long lost
    cdef readonly str path
    cdef int _fd
    cdef object _output
    cdef bytearray _buffer
    cdef Py_ssize_t _end
    cdef long long _second
    cdef bytes _time
    cdef dict _names
    cdef bytes _pending
    cdef bint _torn
    cdef long long _reported
    cdef double _next_report
    cdef str _error

    @cython.locals(
        second="long long", millisecond="unsigned int", room=Py_ssize_t, end=Py_ssize_t,
        head=RequestHead, target=bytes, asker=Asker, client=str, pool=str, node=str, reason=str,
        out="unsigned char *",
    )
    cpdef write(self, Record record, double now, double duration_s)
    @cython.locals(known=bytes)
    cdef bytes _name(self, str text)
    cpdef flush(self)
    cpdef _flush(self, Py_ssize_t may_wait)
    cpdef _report(self)
    @cython.locals(start=bytes, data=bytes, done=Py_ssize_t)
    cpdef _write_pending(self, Py_ssize_t may_wait)
    cpdef reopen(self)
    cpdef close(self)
    cpdef int _open(self) except -1
