import cython

from lbproxy.cluster.balance cimport Member, rendezvous
from lbproxy.cluster.learned cimport Learned

cdef int _OWNER
cdef int _NEW
cdef int _FAILOVER
cdef int _UNKNOWN_ROUTE
cdef int _ROUTE
cdef int _PATH_PARAMETER
cdef int _LEARNED
cdef int _OWN_COOKIE
cdef int _HASH
cdef int _MAX_DOTS
cdef Py_ssize_t _MAX_VALUES
cdef double _FORMER_S
cdef int _QUOTE
cdef int _DOT


@cython.locals(end=cython.Py_ssize_t)
cdef bytes _unquote(bytes value)

cdef class Verdict:
    cdef public Member member
    cdef public int step
    cdef public int result
    cdef public bytes session
    cdef public Member own
    cdef public bint lost
    cdef public str domain
    cdef public str balancer

    cpdef void lose(self, str domain, str balancer)


cdef class Former:
    cdef public str domain
    cdef public str balancer
    cdef public double left_at


cdef class Affinity:
    cdef bytes _pool
    cdef bytes _key
    cdef bytes _cookie_name
    cdef str _same_site
    cdef list _own_steps
    cdef list _steps
    cdef bint _uses_own
    cdef bint _uses_learned
    cdef list _members
    cdef dict _names
    cdef dict _routes
    cdef Py_ssize_t _longest
    cdef dict _own
    cdef object _former_routes
    cdef object _former_own
    cdef readonly Learned learned
    cdef Py_ssize_t _entries
    cdef dict _secure_headers
    cdef dict _plain_headers
    cdef bint _saw_owner
    cdef bint _saw_route

    cpdef take_over(self, Affinity before)

    @cython.locals(member=Member, own=dict)
    cpdef void replace(self, object members, double now=*)

    cpdef void follow_announced(self, bint announced)

    @cython.locals(
        verdict=Verdict, member=Member, step=cython.int, failed=cython.int, unknown=cython.int
    )
    cpdef Verdict decide(
        self, double now, list cookies, list own, list path_values, dict owners=*
    )

    cpdef void learn(self, bytes value, Member member, double now=*)

    @cython.locals(step=cython.int)
    cpdef bint needs_own_cookie(self, Verdict verdict, Member member)

    @cython.locals(headers=dict)
    cpdef bytes own_cookie_header(self, Member member, bint secure)

    cdef Member _look(
        self, int step, double now, list cookies, list own, list path_values, dict owners,
        Verdict verdict,
    )

    @cython.locals(count=cython.Py_ssize_t, index=cython.Py_ssize_t, member=Member)
    cdef Member _by_route(self, list values, double now, dict owners, Verdict verdict)

    @cython.locals(
        text="const char *", size=cython.Py_ssize_t, longest=cython.Py_ssize_t,
        index=cython.Py_ssize_t, end=cython.Py_ssize_t, dots=cython.int, member=Member,
    )
    cdef Member _find_route(self, bytes value, double now, dict owners, Verdict verdict)

    @cython.locals(member=Member)
    cdef Member _known(self, bytes route, double now, dict owners, Verdict verdict)

    cdef void _note_lost(self, Member member, Verdict verdict)

    cdef void _note_former(self, Former former, double now, Verdict verdict)

    @cython.locals(count=cython.Py_ssize_t, index=cython.Py_ssize_t, name=str, member=Member)
    cdef Member _by_learned(self, list values, double now, dict owners, Verdict verdict)

    @cython.locals(
        count=cython.Py_ssize_t, index=cython.Py_ssize_t, value=bytes, member=Member
    )
    cdef Member _by_own_cookie(self, list values, double now, dict owners, Verdict verdict)

    cdef bytes _own_value(self, str name)

    cdef bytes _render(self, str name, bint secure)
