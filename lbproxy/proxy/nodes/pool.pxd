import cython

from lbproxy.cluster.balance cimport Balancer, Member
from lbproxy.limits.budget cimport RetryBudget
from lbproxy.cluster.sticky cimport Affinity, Verdict
from lbproxy.routing.paths cimport Visibility
from lbproxy.proxy.nodes.announced cimport Announced
from lbproxy.proxy.nodes.serving cimport Serving
from lbproxy.proxy.nodes.counting cimport bucket_of, count_status
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.wire.cookies cimport CookieName
from lbproxy.wire.edit cimport replace_cookies
from lbproxy.wire.request_head cimport RequestHead

cdef class Pool:
    cdef public str name
    cdef public object settings
    cdef public double connect_timeout
    cdef public double response_timeout
    cdef public int attempts
    cdef public RetryBudget budget
    cdef public Visibility visibility
    cdef public bint everything_visible
    cdef frozenset _passes
    cdef public Balancer balancer
    cdef public dict links
    cdef public list retired
    cdef public object snapshot
    cdef public Announced announced
    cdef bytes _key
    cdef object _seed
    cdef object _mcmp
    cdef object _page
    cdef public Affinity affinity
    cdef public bint learns
    cdef public bint own_cookie
    cdef public CookieName own_name
    cdef public list cookie_names
    cdef public bytes parameter
    cdef public list durations
    cdef public double duration_sum
    cdef public Py_ssize_t retries
    cdef public list sticky_counts
    cdef public list unserved
    cdef public list unserved_statuses
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public object waiting
    cdef public object waker
    cdef public bint limited
    cdef public bint panic

    @cython.locals(link=Link)
    cpdef close_expired(self, double now)
    cpdef let_pass(self, RequestHead head)
    @cython.locals(
        found=list, own=list, parameters=list, cookies=list, some=list, affinity=Affinity,
        announced=Announced,
    )
    cpdef Verdict decide(self, RequestHead head, double now, Serving application)
    @cython.locals(member=Member)
    cpdef Link pick(self, Verdict verdict, double now, list tried, Serving application)
    @cython.locals(link=Link, full=list)
    cdef list _and_full(self, list tried)
    @cython.locals(announced=Announced)
    cpdef lack(self, bytes host, RequestHead head)
    cdef int attempts_after(self, Link link) except -1
    cpdef bint _take_loads(self, before, snapshot)
    @cython.locals(links=dict, link=Link, old=Link, moved=bint)
    cdef bint _take_links(self, tuple nodes) except -1
    @cython.locals(link=Link)
    cdef _limit(self)
    @cython.locals(link=Link)
    cdef _take_owners(self, Announced announced, double now)
    @cython.locals(link=Link, takers=list)
    cdef _take_candidates(self, snapshot)
    cdef learn(self, list set_cookies, Link link)
    cdef bint needs_own_cookie(self, Verdict verdict, Link link)
    cdef bytes own_cookie_line(self, Link link, bint secure)
    cdef count_unserved(self, Py_ssize_t status)
    cdef record(self, double seconds, int step, int result, long long bytes_in, long long bytes_out)
    cdef _hide_own_cookie(self, RequestHead head, list cookies)

@cython.locals(some=list, name=CookieName, cookie=bytes)
cdef list _values(list names, list cookies, list found)
