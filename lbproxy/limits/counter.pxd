cdef class Counter:
    cpdef void add(self, int change) noexcept

    cpdef void put(self, int value) noexcept

    cpdef long elsewhere(self) noexcept
