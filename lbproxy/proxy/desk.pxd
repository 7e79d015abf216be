from lbproxy.proxy.access_log cimport AccessLog
from lbproxy.proxy.record cimport Record
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.request_ids cimport RequestIds
from lbproxy.proxy.rules cimport Rules
from lbproxy.wire.ajp13_request cimport Ajp13Encoder

cdef class Desk:
    cdef public Rules rules
    cdef public object reports
    cdef public AccessLog access_log
    cdef public object make_upstream
    cdef public double tick_s
    cdef public double now
    cdef public bint draining
    cdef public Ajp13Encoder ajp_encoder
    cdef public RequestIds ids
    cdef public list ready
    cdef public set tasks
    cdef public dict rejected
    cdef public dict shaken
    cdef public list delays
    cdef public double delay_sum
    cdef double _due
    cdef object _notices
    cdef bytes _date
    cdef bytes _authority
    cdef bytes _host
    cdef double _wall

    cpdef start(self, double now)
    cpdef tick(self, double now)
    cpdef node_failed(self, Record record, Link link, failure, str detail, bint whole)
    cpdef node_recovered(self, Link link)
    cpdef route_unknown(self, Record record)
    cpdef count_rejected(self, str reason)
    cdef bytes request_id(self)
    cpdef bytes date(self)
    cpdef bytes host_of(self, bytes authority)
    cdef log(self, Record record, double now)
