import cython

cdef tuple _BUCKETS
cdef bytes _INDEX

@cython.locals(index=Py_ssize_t, bound=double, bounds=tuple)
cpdef Py_ssize_t bucket_of(double seconds) except -1

@cython.locals(table=bytes)
cpdef count_status(list counters, Py_ssize_t status)
