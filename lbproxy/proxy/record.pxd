from lbproxy.proxy.forwarding.asker cimport Asker
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.wire.request_head cimport RequestHead

cdef tuple STICKY_LABELS
cdef Py_ssize_t _RESULTS

cdef class Record:
    cdef public Asker asker
    cdef public RequestHead head
    cdef public double started
    cdef public bytes request_id
    cdef public Pool pool
    cdef public Link link
    cdef public double upstream_s
    cdef public int status
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public int step
    cdef public int result
    cdef public int retries
    cdef public double queued_s
    cdef public str reason

    cdef begin_record(self, Asker asker, RequestHead head, double started, bytes request_id)
    cpdef str sticky(self)
