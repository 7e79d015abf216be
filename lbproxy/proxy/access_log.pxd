cimport cython

cdef bytes _SAFE

@cython.locals(safe="const unsigned char *", byte="unsigned char", text=str)
cdef str _escaped(bytes value)

@cython.locals(end=Py_ssize_t, at=Py_ssize_t, careful=bint, byte="unsigned char", path=bytes)
cdef str _escaped_path(bytes target)

cdef class AccessLog:
    cdef readonly long long lost
    cdef str _path
    cdef int _fd
    cdef list _lines
    cdef Py_ssize_t _size
    cdef long long _second
    cdef str _time
    cdef dict _names
    cdef bytes _pending
    cdef bint _torn
    cdef long long _reported
    cdef double _next_report
    cdef str _error

    @cython.locals(
        second="long long", millisecond=int, duration="long long", upstream="long long",
        upstream_ms=str, line=str,
    )
    cpdef write(
        self, double now, str client, bytes method, bytes host, bytes target, int status,
        long long bytes_in, long long bytes_out, double duration_s, double upstream_s, str pool,
        str node, str sticky, int retries, str tls, str reason, bytes request_id,
    )
    cdef str _name(self, str text)
    cpdef flush(self)
    @cython.locals(start=bytes, data=bytes, done=Py_ssize_t)
    cpdef _write_pending(self)
    cpdef reopen(self)
    cpdef close(self)
    cpdef int _open(self) except -1
