cimport cython

cdef int _TAB, _SPACE, _QUOTE, _EQUALS, _SEMICOLON, _AMPERSAND, _SLASH, _HASH

@cython.locals(end=Py_ssize_t, length=Py_ssize_t, at=Py_ssize_t, before=Py_ssize_t, after=Py_ssize_t)
cdef Py_ssize_t _value_start(bytes header, bytes name, Py_ssize_t start) except -2

@cython.locals(end=Py_ssize_t)
cdef Py_ssize_t _pair_end(bytes header, Py_ssize_t start) except -2

@cython.locals(data="const char *")
cdef bytes _trimmed(bytes header, Py_ssize_t start, Py_ssize_t end)

@cython.locals(start=Py_ssize_t)
cpdef object find(bytes header, bytes name)

@cython.locals(found=list, start=Py_ssize_t, end=Py_ssize_t)
cpdef list values(bytes header, bytes name)

@cython.locals(kept=list, start=Py_ssize_t, begin=Py_ssize_t, done=Py_ssize_t)
cpdef bytes without(bytes header, bytes name)

@cython.locals(start=Py_ssize_t, end=Py_ssize_t)
cpdef object set_cookie_value(bytes field, bytes name)

@cython.locals(found=list, start=Py_ssize_t, end=Py_ssize_t, stop=Py_ssize_t)
cpdef list path_parameter(bytes target, bytes name)

cdef class CookieName:
    cdef readonly bytes name

    @cython.locals(
        octets="const unsigned char *", wanted="const unsigned char *", name=bytes, size=Py_ssize_t,
        length=Py_ssize_t, p=Py_ssize_t, start=Py_ssize_t, i=Py_ssize_t, found=list, value=bytes,
    )
    cpdef list values(self, bytes header)
