import cython

from lbproxy.proxy.forwarding.asker cimport ClientView
from lbproxy.proxy.downstream.transport cimport Downstream
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.proxy.downstream.upload cimport Upload
from lbproxy.proxy.nodes.connection cimport UpstreamConnection
from lbproxy.proxy.worker cimport Worker
from lbproxy.wire.http1_render cimport render
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.partial_head cimport PartialHead

cdef int IDLE, HEADING, SENDING, WAITING, TUNNELLING, LINGERING, CLOSED
cdef int SLOW_NODE, NO_NODE, FULL, SLOW_CLIENT, BREATH, _HELD

cdef class ClientConnection(Downstream):
    cdef public Worker worker
    cdef public object listener
    cdef readonly object header
    cdef public ClientView view
    cdef public str address
    cdef public str tls_version
    cdef public bint trusted
    cdef public bint admitted
    cdef public bint refused
    cdef bint _ended
    cdef public Exchange exchange
    cdef public Py_ssize_t requests
    cdef public PartialHead partial
    cdef bint _busy
    cdef Upload upload
    cdef bytes _authority
    cdef public bytes host

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
    cdef enter_tunnel(self)
    @cython.locals(exchange=Exchange)
    cdef exchange_done(self)
    @cython.locals(exchange=Exchange)
    cpdef answer(self, failure, Link link)
    cdef abort(self)
    cpdef ask(self, bytes interim)

    @cython.locals(link=Link)
    cpdef break_off(self, Exchange exchange, failure)
    @cython.locals(link=Link)
    cpdef end(self, Exchange exchange, failure)
    cpdef drain(self)
    cpdef cut_off(self)

    @cython.locals(position=Py_ssize_t, size=Py_ssize_t, worker=Worker, head=RequestHead)
    cdef _process(self, bytes data)
    @cython.locals(data=bytes)
    cdef _go_on(self)
    @cython.locals(partial=PartialHead, deadline=double)
    cdef _continue_head(self, bytes data)
    cpdef breathed(self)
    @cython.locals(
        worker=Worker, exchange=Exchange, pool=Pool,
        link=Link, position=Py_ssize_t, view=ClientView, upload=Upload,
    )
    cdef Py_ssize_t _begin(self, RequestHead head, bytes data) except -1
    cpdef Py_ssize_t deny(self, failure, RequestHead head) except -1
    @cython.locals(exchange=Exchange, worker=Worker)
    cpdef refuse(self, failure, str detail)

    @cython.locals(upload=Upload, position=Py_ssize_t)
    cdef _continue_body(self, bytes data)
    cdef give_up(self, Exchange exchange, failure)
