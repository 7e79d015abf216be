# C types of paths.py, so that a plain path is answered in a fraction of a microsecond, and the worst
# one costs a few passes over its bytes.
cimport cython

cdef int _ESCAPE, _PARAMETER, _BACKSLASH, _SLASHES, _END, _DOTS, _NETWORK
cdef bytes HEX
cdef tuple _FOLDS


@cython.locals(size=cython.Py_ssize_t, i=cython.Py_ssize_t, c=cython.uchar, dots=cython.int)
cpdef bint plain(bytes path)


@cython.locals(
    found=dict, todo=list, work=cython.Py_ssize_t, reading=bytes, marks=cython.int,
    decodes=cython.int,
)
cpdef tuple readings(bytes path)

@cython.locals(reading=bytes)
cpdef refuse_doubtful(bytes path)

cdef _note(bytes reading, int decodes, dict found, list todo)

@cython.locals(size=cython.Py_ssize_t, i=cython.Py_ssize_t, digits="const unsigned char *")
cdef _refuse_broken(bytes path)

@cython.locals(
    size=cython.Py_ssize_t, i=cython.Py_ssize_t, c=cython.uchar, dots=cython.int, marks=cython.int
)
cdef int _look(bytes reading) except -1

@cython.locals(
    size=cython.Py_ssize_t, i=cython.Py_ssize_t, end=cython.Py_ssize_t, c=cython.uchar,
    inside=cython.bint, kept=bytearray,
)
cdef bytes _without_parameters(bytes reading)

@cython.locals(
    size=cython.Py_ssize_t, i=cython.Py_ssize_t, end=cython.Py_ssize_t, c=cython.uchar,
    kept=bytearray,
)
cdef bytes _merged_slashes(bytes reading)

cdef bytes _cut_at_query(bytes reading)

@cython.locals(size=cython.Py_ssize_t, i=cython.Py_ssize_t)
cdef bytes _without_host(bytes reading)

cdef bytes _without_authority(bytes reading)

@cython.locals(
    size=cython.Py_ssize_t, i=cython.Py_ssize_t, end=cython.Py_ssize_t, c=cython.uchar,
    low=cython.uchar, kept=bytearray, digits="const unsigned char *",
)
cdef bytes _decoded(bytes reading)

@cython.locals(
    size=cython.Py_ssize_t, i=cython.Py_ssize_t, end=cython.Py_ssize_t, start=cython.Py_ssize_t,
    stop=cython.Py_ssize_t, length=cython.Py_ssize_t, dotted=cython.bint, kept=bytearray,
)
cdef bytes _resolved(bytes reading)

@cython.locals(folded=bytes)
cdef bytes _folded(bytes reading)


@cython.locals(end=cython.Py_ssize_t)
cdef bint _begins(bytes path, bytes prefix, Py_ssize_t start, bint extensions)


@cython.locals(size=cython.Py_ssize_t, end=cython.Py_ssize_t, segment=bytes)
cdef Py_ssize_t _after_tenant(bytes path, tuple segments, Py_ssize_t start) except -2


cdef class Visibility:
    cdef tuple _hide
    cdef tuple _expose
    cdef tuple _tenants
    cdef tuple _tenant_heads
    cdef bint _extensions

    cpdef bint hidden(self, bytes path) except -1

    cpdef bytes hidden_by(self, bytes path)

    @cython.locals(reading=bytes, rule=bytes)
    cpdef bytes rule(self, tuple ways)

    @cython.locals(prefix=bytes)
    cdef bytes _rule(self, bytes reading, bytes folded)

    @cython.locals(start=cython.Py_ssize_t, after=cython.Py_ssize_t, prefix=bytes)
    cdef bytes _rule_below_tenants(self, bytes folded)
