cimport cython

from lbproxy.limits.counter cimport Counter
from lbproxy.proxy.desk cimport Desk

cdef Py_ssize_t _MAX_REFUSED

cdef class Clients:
    cdef Desk _desk
    cdef Counter _connections
    cdef Counter _handshakes
    cdef public set open
    cdef public Py_ssize_t refused
    cdef public set handshakes
    cdef public object per_client
    cdef public object shaking
    cdef public object half_closed
    cdef public set gathering
    cdef public object gone

    cpdef admit(self, client)
    @cython.locals(desk=Desk)
    cdef _refusal(self, client)
    cpdef Py_ssize_t admitted(self) except -1
    cdef Py_ssize_t _everybody(self) except -1
    cpdef dismiss(self, client)
    @cython.locals(desk=Desk)
    cpdef bint admit_handshake(self, handshake) except -1
    cpdef dismiss_handshake(self, handshake)
