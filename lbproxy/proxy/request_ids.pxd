cdef tuple _HEX

cdef class RequestIds:
    cdef bytes _prefix
    cdef unsigned long long _high
    cdef int _low
    cdef bytes _stem

    cpdef bytes make(self)
