import cython

from lbproxy.cluster.balance cimport Member
from lbproxy.proxy.nodes.counting cimport bucket_of, count_status
from lbproxy.proxy.nodes.connection cimport Connection

cdef class Link(Member):
    cdef public object node
    cdef public Py_ssize_t limit
    cdef public list idle
    cdef public list ending
    cdef public Py_ssize_t max_idle
    cdef public double idle_timeout
    cdef public double connect_timeout
    cdef public double response_timeout
    cdef public Py_ssize_t kept
    cdef public double surplus_timeout
    cdef public object tcp
    cdef public list codes
    cdef public list statuses
    cdef public list heads
    cdef public double head_sum
    cdef public dict failures
    cdef public list pinging
    cdef public bint failing
    cdef public double heard_at
    cdef public bint lost
    cdef public bint secure
    cdef public Py_ssize_t packet_size
    cdef public bytes secret
    cdef public double ping_timeout
    cdef str _unusable
    cdef tuple _secret_mark
    cdef set _hints
    cdef public tuple targets
    cdef str _answered
    cdef bint _moved
    cdef object _tls
    cdef object _ca_mark

    cpdef void enter(self) noexcept
    cpdef void leave(self) noexcept
    cpdef bint full(self) noexcept
    cpdef count(self, Py_ssize_t status)
    cpdef answered(self, double now, double seconds)
    cpdef left(self, double now, double seconds)
    @cython.locals(idle=list, connection=Connection)
    cpdef Connection take(self, bint look)

    @cython.locals(surplus=bint)
    cpdef give(self, Connection connection, double now)
    cpdef forget(self, Connection connection)
    cpdef _drop(self, Connection connection)
    cpdef end(self, Connection connection, double until)

    @cython.locals(
        idle=list, expired=Py_ssize_t, gone=list, surplus=list, connection=Connection,
        oldest=Connection, each=Connection,
    )
    cpdef close_expired(self, double now)

    cpdef retire(self)
    cpdef close_idle(self)
