cimport cython

from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.exchange.course cimport Course
from lbproxy.proxy.exchange.downstream cimport Downstream
from lbproxy.proxy.exchange.stages cimport holds
from lbproxy.proxy.exchange.upstream cimport Upstream
from lbproxy.proxy.forwarding.asker cimport Asker
from lbproxy.proxy.nodes.connection cimport Connection
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.wire.ajp13_request cimport Facts
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.http1_response cimport ResponseHead

cdef int BEGUN, ROOM, PARKED, CONNECTING, PINGING, ASKED, ANSWERING, TUNNEL, OVER
cdef int PLACE, TASK, LINK
cdef int NO_NODE, SLOW_NODE, HEAD
cdef long long NO_BODY
cdef double _NEVER

cdef class Exchange(Course):
    cdef public Upstream upstream
    cdef public object connecting
    cdef public bytes request_trailers
    cdef public bytes trailers

    cpdef try_again(self, double now, cause)
    @cython.locals(link=Link)
    cpdef go(self)
    cdef _start(self, Link link)
    @cython.locals(ready=list)
    cdef _park(self)
    @cython.locals(link=Link, connection=Connection)
    cdef _send(self, bint look)
    cdef _attach(self, Upstream upstream)
    cdef _connect(self, Link link)
    @cython.locals(upstream=Upstream)
    cpdef take(self, bytes payload, bint last)

    cpdef pinging(self)
    cpdef asked(self)
    cpdef took(self)
    cpdef invite(self)
    cpdef Facts facts(self)

    cpdef pass_interim(self, ResponseHead head)
    @cython.locals(now=double, link=Link)
    cpdef respond(self, ResponseHead head, bytes payload, bint complete)
    @cython.locals(now=double, link=Link)
    cdef double _begin_answer(self, ResponseHead head) except -1
    cpdef body(self, bytes payload, bint complete)

    cpdef open_tunnel(self, ResponseHead head)
    cpdef tunnel_up(self, bytes data)
    cpdef tunnel_down(self, bytes data)
    cpdef tunnel_closed(self)

    cpdef slow(self)
    cpdef caught_up(self)
    @cython.locals(clients_turn=bint, moved=bint)
    cpdef expire(self, double now)

    @cython.locals(upstream=Upstream, link=Link)
    cpdef finish(self, double now)
    @cython.locals(link=Link, again=Link, sent=bint)
    cpdef fail(self, failure, str detail=*)
    cpdef give_up(self, str detail)
    cpdef spoil(self, failure)
    @cython.locals(held=int)
    cpdef break_off(self, failure)
    cpdef refuse(self, failure)
    cpdef answer(self, failure)
    cpdef reply(self, answer)
    @cython.locals(link=Link)
    cpdef cut(self, failure)
    @cython.locals(upstream=Upstream)
    cpdef gone(self)
    @cython.locals(now=double)
    cpdef abandon(self, failure)
    @cython.locals(held=int)
    cdef _let_go(self)
    @cython.locals(pool=Pool, answered=bint)
    cdef _end(self, double now, int status, str reason)

@cython.locals(ready=list, exchange=Exchange)
cpdef send_parked(Desk desk)
