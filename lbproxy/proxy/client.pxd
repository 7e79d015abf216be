import cython

from lbproxy.cluster.sticky cimport Verdict
from lbproxy.proxy.client_view cimport ClientView
from lbproxy.proxy.downstream cimport Downstream
from lbproxy.proxy.exchange cimport Exchange
from lbproxy.proxy.link cimport Link
from lbproxy.proxy.pool cimport Pool
from lbproxy.proxy.upstream cimport UpstreamConnection
from lbproxy.proxy.worker cimport Worker
from lbproxy.wire.http1_request cimport RequestHead
from lbproxy.wire.http1_body cimport RequestBody

cdef int IDLE, HEADING, SENDING, WAITING, TUNNELLING, LINGERING, CLOSED
cdef int _SLOW_NODE, _NO_NODE, _FULL, _SLOW_CLIENT
cdef Py_ssize_t _PIPELINE_BYTES, _LINGER_BYTES, _GATHER_BYTES, _GATHER_ABOVE
cdef dict _FAILURES

cdef class ClientConnection(Downstream):
    cdef public Worker worker
    cdef public object listener
    cdef object _source
    cdef public ClientView view
    cdef public str address
    cdef public str tls_version
    cdef public bint trusted
    cdef public bint admitted
    cdef bint _ended
    cdef public Exchange exchange
    cdef public Py_ssize_t requests
    cdef bytearray _partial
    cdef bint _busy
    cdef RequestBody _body
    cdef bint _gathering
    cdef bint _may_gather
    cdef double _heard_at
    cdef Py_ssize_t _lingered
    cdef bytes _authority
    cdef bytes _host

    @cython.locals(phase=int)
    cpdef data_received(self, data)
    @cython.locals(exchange=Exchange)
    cpdef connection_lost(self, error)
    @cython.locals(exchange=Exchange)
    cpdef pause_writing(self)
    @cython.locals(exchange=Exchange)
    cpdef resume_writing(self)

    @cython.locals(worker=Worker, exchange=Exchange)
    cdef touch(self)
    @cython.locals(worker=Worker)
    cdef await_node(self, Exchange exchange)
    cdef hold(self)
    cpdef block_reading(self)
    cpdef unblock_reading(self)
    cdef bint asked_https(self)
    cdef enter_tunnel(self)
    @cython.locals(exchange=Exchange)
    cdef exchange_done(self)
    @cython.locals(exchange=Exchange)
    cpdef answer(self, failure, Link link)
    cdef abort(self)

    @cython.locals(phase=int, exchange=Exchange)
    cpdef expire(self, double now)
    cdef _expire_slow_reader(self, double now)
    @cython.locals(upstream=UpstreamConnection, link=Link)
    cdef _time_out(self, Exchange exchange, failure)
    @cython.locals(link=Link)
    cdef _end(self, Exchange exchange, failure)
    cpdef drain(self)
    cpdef cut_off(self)

    @cython.locals(position=Py_ssize_t, size=Py_ssize_t, worker=Worker, head=RequestHead)
    cdef _process(self, bytes data)
    @cython.locals(data=bytes)
    cdef _go_on(self)
    @cython.locals(partial=bytearray, whole=bytes, worker=Worker, deadline=double)
    cdef _continue_head(self, bytes data)
    cdef _hold_back(self, bytes data)
    @cython.locals(
        worker=Worker, exchange=Exchange, pool=Pool, now=double, verdict=Verdict,
        link=Link, position=Py_ssize_t,
    )
    cdef Py_ssize_t _begin(self, RequestHead head, bytes data) except -1
    @cython.locals(view=ClientView, parts=list)
    cdef _render(self, Exchange exchange, RequestHead head)
    @cython.locals(exchange=Exchange)
    cdef Py_ssize_t _redirect(self, RequestHead head) except -1
    cdef Py_ssize_t _deny(self, failure, RequestHead head) except -1
    @cython.locals(exchange=Exchange, worker=Worker)
    cdef _refuse(self, failure, str detail)

    @cython.locals(worker=Worker, exchange=Exchange, position=Py_ssize_t, body=RequestBody)
    cdef _continue_body(self, bytes data)
    cdef _gather(self)
    cpdef stop_gathering(self)
    cpdef bint stalls(self, double now)
    @cython.locals(body=RequestBody, piece=bytes)
    cdef Py_ssize_t _read_body(
        self, Exchange exchange, bytes data, Py_ssize_t position
    ) except -1
    cdef _complete_request(self, Exchange exchange)
    cdef _give_up(self, Exchange exchange, failure)
