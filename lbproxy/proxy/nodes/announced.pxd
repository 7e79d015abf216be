import cython

from lbproxy.cluster.sticky cimport Verdict
from lbproxy.proxy.nodes.serving cimport Serving, Applications
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.wire.request_head cimport RequestHead


cdef class Announced:
    cdef public Applications applications
    cdef public object balancers
    cdef public bint sticky
    cdef public list cookie_names
    cdef public list parameters
    cdef list _own_names
    cdef bytes _own_parameter
    cdef bint _denies_stopped
    cdef double _last_wait_s

    cpdef Serving serving(self, bytes host, RequestHead head)
    cdef Link pick(self, Serving application, Verdict verdict, double now, list tried)
    cdef bint forgets(self, Verdict verdict, Link link) except -1
    cdef int attempts(self, Link link, int limit) except -1
