import cython

cdef bytearray _HEAD

@cython.locals(n=Py_ssize_t, out="unsigned char *", head="const char *", data="const char *")
cpdef bytes data_packet(bytes payload, Py_ssize_t position, Py_ssize_t size)
