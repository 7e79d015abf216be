cimport cython

from lbproxy.cluster.balance cimport Member
from lbproxy.cluster.sticky cimport Verdict
from lbproxy.proxy.nodes.announced cimport Announced
from lbproxy.proxy.nodes.serving cimport Application, Applications, Tally
from lbproxy.proxy.downstream.http1 cimport ClientConnection
from lbproxy.proxy.forwarding.asker cimport ClientView
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.proxy.nodes.connection cimport UpstreamConnection
from lbproxy.proxy.worker cimport Worker
from lbproxy.wire.fields cimport DropRules
from lbproxy.wire.http1_render cimport render
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.http1_response cimport ResponseHead

cdef Py_ssize_t _JOIN_BELOW

@cython.freelist(64)
cdef class Exchange:
    cdef public Worker worker
    cdef public ClientConnection client
    cdef public RequestHead head
    cdef public int method_id
    cdef public bint http10
    cdef public bint websocket
    cdef public double started
    cdef public Pool pool
    cdef public Link link
    cdef public UpstreamConnection upstream
    cdef public object connecting
    cdef public Verdict verdict
    cdef public Application application
    cdef public Tally tally
    cdef public object room
    cdef public double response_timeout
    cdef public bytes request_id
    cdef public bytes lines
    cdef public bytes request
    cdef public bytes held
    cdef public bytes request_trailers
    cdef public bint has_body
    cdef public bint request_done
    cdef public bint sent
    cdef public bint waited
    cdef public bint body_sent
    cdef public bint interim
    cdef public bint responded
    cdef public bint reusable
    cdef public bint chunked_down
    cdef public bint wants_cookies
    cdef public DropRules trailer_drops
    cdef public bytes trailers
    cdef public bint tunnelling
    cdef public double sent_at
    cdef public double upstream_s
    cdef public int status
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public int step
    cdef public int result
    cdef public int retries
    cdef public bint stale_retried
    cdef public str reason
    cdef public list tried

    @cython.locals(pool=Pool, announced=Announced, verdict=Verdict, member=Member)
    cpdef Link choose(self, double now)
    cpdef go(self, Link link)

    cdef start(self, Link link)
    @cython.locals(pool=Pool, announced=Announced)
    cdef _enter(self, Link link)
    cdef _leave(self, Link link)
    @cython.locals(link=Link, upstream=UpstreamConnection)
    cdef send(self, bint look)
    cpdef attach(self, UpstreamConnection upstream)
    cdef mark_sent(self)
    @cython.locals(upstream=UpstreamConnection)
    cdef send_body(self, bytes payload, bint last)
    cpdef bint held_back(self)
    cdef _connect(self, Link link)

    cdef invite(self)
    cdef pass_interim(self, ResponseHead head)
    @cython.locals(
        client=ClientConnection, link=Link, now=double, parts=list, size=Py_ssize_t,
    )
    cdef respond(self, ResponseHead head, bytes payload, bint complete)
    @cython.locals(client=ClientConnection)
    cdef body(self, bytes payload, bint complete)
    @cython.locals(pool=Pool, link=Link, verdict=Verdict, view=ClientView)
    cdef _affinity(self, ResponseHead head, list parts)

    @cython.locals(parts=list, link=Link)
    cdef open_tunnel(self, ResponseHead head)
    cdef tunnel_up(self, bytes data)
    cdef tunnel_down(self, bytes data)
    @cython.locals(upstream=UpstreamConnection, link=Link)
    cdef close_tunnel(self)
    cdef tunnel_closed(self)

    @cython.locals(upstream=UpstreamConnection, link=Link)
    cdef finish(self, double now)
    @cython.locals(link=Link, again=Link)
    cpdef fail(self, failure, str detail=*)
    cpdef give_up(self, str detail)
    @cython.locals(link=Link)
    cdef refuse(self, failure)
    @cython.locals(pool=Pool)
    cdef answered(self, int status, str reason, Py_ssize_t size, Link link)
    cdef let_go(self)
    @cython.locals(link=Link)
    cdef abandon(self, str reason, int status)
    @cython.locals(pool=Pool)
    cdef _record(self, double now)
