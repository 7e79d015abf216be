cimport cython

from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.forwarding.asker cimport Asker
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.proxy.nodes.routing cimport Routing
from lbproxy.wire.request_head cimport RequestHead

@cython.locals(head=RequestHead)
cpdef bint arrive(Exchange exchange, listener) except -1
@cython.locals(pool=Pool)
cdef _choose(Exchange exchange)
@cython.locals(head=RequestHead, routing=Routing, pool=Pool)
cdef _route(Exchange exchange)
@cython.locals(limit="long long")
cdef _measure(Exchange exchange)
cdef bint _redirects(Exchange exchange, listener) except -1
@cython.locals(head=RequestHead, asker=Asker)
cdef _redirect(Exchange exchange, listener)
