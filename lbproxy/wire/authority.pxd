import cython

cdef bytes HOST
cdef bytes _HEX

@cython.locals(
    octets="const unsigned char *", host="const unsigned char *", hexadecimal="const unsigned char *",
    n=Py_ssize_t, p=Py_ssize_t, colons=int, port=long,
)
cpdef bint valid_authority(bytes authority)
cpdef bytes without_empty_port(bytes authority)
