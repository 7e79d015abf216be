import cython

cdef bytes _NEXT, _ACTS, _OCTETS, _ENDS
cdef int _BAD

@cython.locals(
    octets="const unsigned char *", following="const unsigned char *", acts="const unsigned char *",
    symbols="const unsigned char *", out=bytearray, length=Py_ssize_t, state="unsigned int",
    at=Py_ssize_t, octet="unsigned char", step="unsigned int", act="unsigned char",
)
cpdef bytes decode(bytes data, Py_ssize_t start, Py_ssize_t stop)
