cimport cython

cdef bytes _HOLDS, _CLOCKS, _CLIENT_CLOCKS, _FOLLOWS
cdef int _N

@cython.locals(table="const unsigned char *")
cpdef int follows(int stage, int then) except -1
@cython.locals(table="const unsigned char *")
cpdef int holds(int stage) except -1
@cython.locals(table="const unsigned char *")
cpdef int clock(int stage, bint clients_turn) except -1
