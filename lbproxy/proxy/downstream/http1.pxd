import cython

from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.downstream.arrival cimport arrive
from lbproxy.proxy.downstream.clients cimport Clients
from lbproxy.proxy.downstream.http1_answers cimport Http1Answers, as_http1
from lbproxy.proxy.downstream.upload cimport Upload
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.record cimport Record
from lbproxy.proxy.forwarding.asker cimport Asker
from lbproxy.proxy.rules cimport Rules
from lbproxy.proxy.transport.pipe cimport Pipe
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.partial_head cimport PartialHead

cdef int IDLE, HEADING, BUSY, LINGERING, CLOSED
cdef int ANSWERING, TUNNEL
cdef int BREATH, FULL, SLOW_CLIENT, _HELD
cdef long long NO_BODY
cdef Py_ssize_t _PIPELINE_BYTES
cdef double _LINGER_S, _LINGER_MOST_S

cdef class Http1Connection(Http1Answers):
    cdef public Desk desk
    cdef public Clients clients
    cdef public object listener
    cdef readonly object header
    cdef public Asker asker
    cdef public int phase
    cdef public double deadline
    cdef public bint admitted
    cdef public bint refused
    cdef public Py_ssize_t requests
    cdef public PartialHead partial
    cdef bytes pending
    cdef bint _reading
    cdef bint _ended
    cdef Upload _upload
    cdef double _linger_until

    @cython.locals(phase=int)
    cpdef data_received(self, data)
    @cython.locals(exchange=Exchange)
    cpdef eof_received(self)
    @cython.locals(exchange=Exchange)
    cpdef connection_lost(self, error)
    cpdef pause_writing(self)
    cpdef resume_writing(self)

    @cython.locals(exchange=Exchange)
    cpdef over(self)
    @cython.locals(exchange=Exchange)
    cpdef bint overdue(self, double now) except -1
    @cython.locals(exchange=Exchange)
    cpdef bint ask(self) except -1
    cpdef close(self, double now)
    cpdef reset(self)

    @cython.locals(position=Py_ssize_t, size=Py_ssize_t, rules=Rules, head=RequestHead)
    cdef _process(self, bytes data)
    cpdef _breathed(self)
    @cython.locals(data=bytes, exchange=Exchange)
    cdef _go_on(self)
    @cython.locals(partial=PartialHead, deadline=double)
    cdef _continue_head(self, bytes data)
    cdef _hold_back(self, bytes data)
    @cython.locals(desk=Desk, exchange=Exchange, position=Py_ssize_t, upload=Upload)
    cdef Py_ssize_t _begin(self, RequestHead head, bytes data) except -1
    cpdef name_asker(self, transport)
    cdef _name_authority(self, Exchange exchange, RequestHead head)
    @cython.locals(desk=Desk, asker=Asker, record=Record)
    cpdef refuse(self, failure, str detail)

    @cython.locals(exchange=Exchange, upload=Upload, position=Py_ssize_t)
    cdef _take(self, bytes data)
    cdef _cut_upload(self, Exchange exchange)
    @cython.locals(pipe=Pipe)
    cdef _close_after(self, bint complete, double now)
    cdef _linger(self, double now)
