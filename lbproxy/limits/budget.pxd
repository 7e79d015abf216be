cdef long long _RETRY


cdef class RetryBudget:
    cdef long long _paid
    cdef long long _cap
    cdef long long _saved

    cpdef void deposit(self)

    cpdef bint withdraw(self)
