import cython

cdef bytes TOKEN, TABLE
cdef bytes VALUE
cdef bytes LOWER
cdef bytes _FOLD
cdef frozenset _FRAMING_NAMES

cdef bytes _FOLD_ALL
cdef Py_ssize_t _MAX_REMEMBERED, _MAX_KEPT

cpdef bytes fold(bytes name)
cpdef bytes fold_all(bytes name)

cdef int _ANYWHERE, _AT_WORD, _BEHIND_X

cdef class Rule:
    cdef readonly int place
    cdef readonly bytes word
    cdef readonly object tail

cdef class DropRules:
    cdef readonly frozenset exact
    cdef readonly tuple prefixes
    cdef readonly frozenset held
    cdef Py_ssize_t _longest
    cdef dict _remembered
    cdef list _rules
    cdef readonly bytes kept

    cpdef bint matches(self, bytes name)
    @cython.locals(
        octets="const unsigned char *", size=Py_ssize_t, begin=Py_ssize_t, i=Py_ssize_t, rules=list,
        rule=Rule, fits=bint,
    )
    cdef bint _drops(self, bytes folded) except -1

@cython.locals(w="const unsigned char *", lower="const unsigned char *", i=Py_ssize_t)
cdef bint _same(const unsigned char *octets, Py_ssize_t start, bytes word) noexcept

cdef class FieldCursor:
    cdef readonly bytes data
    cdef readonly Py_ssize_t position
    cdef readonly Py_ssize_t stop
    cdef readonly Py_ssize_t name_start
    cdef readonly Py_ssize_t name_end
    cdef readonly Py_ssize_t value_start
    cdef readonly Py_ssize_t value_end
    cdef readonly bint odd
    cdef readonly object malformed
    cdef readonly bint lenient
    cdef readonly Py_ssize_t colon

    cpdef begin(self, bytes data, Py_ssize_t position, Py_ssize_t stop)

    @cython.locals(
        octets="const unsigned char *", token="const unsigned char *", p=Py_ssize_t, stop=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, marks=int,
    )
    cpdef int advance(self) except -2

    @cython.final
    @cython.locals(value="const unsigned char *")
    cdef Py_ssize_t value_stop(
        self, const unsigned char *octets, Py_ssize_t p, Py_ssize_t stop
    ) noexcept

    @cython.locals(data="const char *")
    cpdef bytes line_from(self, Py_ssize_t line)

    @cython.locals(w="const unsigned char *", i=Py_ssize_t)
    cdef bint starts(self, const unsigned char *octets, Py_ssize_t start, bytes word) noexcept

    @cython.locals(
        octets="const unsigned char *", table="const unsigned char *",
        start=Py_ssize_t, size=Py_ssize_t, kind=int, row=int, i=Py_ssize_t,
    )
    cpdef int kind(self, int first, int last) noexcept
    cpdef bint is_value(self, bytes word) noexcept
    # A slice of a C pointer is one allocation and a copy; a slice of bytes makes a slice object.
    @cython.locals(data="const char *")
    cpdef bytes name(self)
    @cython.locals(data="const char *")
    cpdef bytes value(self)

    @cython.locals(octets="const unsigned char *", p=Py_ssize_t, end=Py_ssize_t, total="long long")
    cpdef long long length_value(self) except -1
    @cython.locals(octets="const unsigned char *", p=Py_ssize_t, end=Py_ssize_t)
    cpdef bint is_length(self)
    @cython.locals(octets="const unsigned char *", p=Py_ssize_t, space=Py_ssize_t)
    cpdef bint is_plain_length(self)
