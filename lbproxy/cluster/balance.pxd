import cython
cimport libc.math as math

from lbproxy.cluster.turns cimport Schedule, Turn
from lbproxy.limits.counter cimport Counter

cdef double _TAU
cdef double _DEFAULT_LOAD
cdef double _FLOOR
cdef double _MIN_WEIGHT
cdef double _UNIT
cdef int _DRAWS
cdef unsigned long long _MASK
cdef unsigned long long _FNV_OFFSET
cdef unsigned long long _FNV_PRIME
cdef unsigned long long _MIX_1
cdef unsigned long long _MIX_2
cdef unsigned long long _GOLDEN


cdef unsigned long long _mix(unsigned long long value)

@cython.locals(result=cython.ulonglong, byte=cython.uchar)
cdef unsigned long long _hash(bytes value)


cdef class Member:
    cdef public str name
    cdef public bytes route
    cdef public unsigned long long seed
    cdef public double weight
    cdef public double load
    cdef public double up_since
    cdef public Py_ssize_t in_flight
    cdef public Counter shared
    cdef public double ewma
    cdef public bint takes_new
    cdef public bint takes_owned
    cdef public str domain
    cdef public str balancer
    cdef public bint sticky
    cdef double _observed_at

    cdef Py_ssize_t busy(self) noexcept

    @cython.locals(keep=cython.double)
    cpdef void observe(self, double now, double latency_s)

    cpdef double expected(self, double now)

    @cython.locals(elapsed=cython.double)
    cdef double _decay(self, double now)


cdef class Balancer:
    cdef list _members
    cdef double _slow_start
    cdef double _slow_until
    cdef bint _equal

    cpdef void replace(self, object members)

    @cython.locals(member=Member, first=Member)
    cpdef void refresh(self)

    cpdef Member pick(self, double now, bytes session, list tried)

    cdef double _weight(self, Member member, double now)

    @cython.locals(age=cython.double)
    cdef double _ramp(self, Member member, double now)


cdef class RoundRobin(Balancer):
    cdef unsigned long long _seed
    cdef Py_ssize_t _next
    cdef Schedule _schedule
    cdef list _scheduled
    cdef bint _planned

    @cython.locals(before=list, position=dict)
    cpdef void replace(self, object members)

    cpdef void refresh(self)

    @cython.locals(count=cython.Py_ssize_t, index=cython.Py_ssize_t, member=Member)
    cpdef Member pick(self, double now, bytes session, list tried)

    @cython.locals(skipped=list, turn=Turn, other=Turn, member=Member)
    cdef Member _pick_due(self, double now, list tried)

    @cython.locals(
        leads=dict,
        count=cython.Py_ssize_t,
        index=cython.Py_ssize_t,
        rank=cython.Py_ssize_t,
        member=Member,
    )
    cdef void _plan(self, double now)


cdef class Load(RoundRobin):
    cpdef void refresh(self)

    @cython.locals(load=cython.double)
    cdef double _weight(self, Member member, double now)


cdef class Hash(RoundRobin):
    @cython.locals(
        key=cython.ulonglong,
        best=cython.double,
        score=cython.double,
        member=Member,
        found=Member,
    )
    cpdef Member pick(self, double now, bytes session, list tried)


@cython.locals(unit=cython.double)
cdef double _score(unsigned long long key, unsigned long long seed, double weight)

@cython.locals(
    best=cython.double, unit=cython.double, score=cython.double, member=Member, found=Member
)
cdef Member _rendezvous(list members, unsigned long long key, list tried, bint owned)

cpdef Member rendezvous(list members, bytes session, list tried, bint owned)


cdef class TwoChoices(Balancer):
    cdef unsigned long long _state

    @cython.locals(count=cython.Py_ssize_t, first=cython.Py_ssize_t, second=cython.Py_ssize_t)
    cpdef Member pick(self, double now, bytes session, list tried)

    @cython.locals(
        left=list, count=cython.Py_ssize_t, first=cython.Py_ssize_t, second=cython.Py_ssize_t
    )
    cdef Member _pick_untried(self, double now, list tried)

    @cython.locals(index=cython.Py_ssize_t)
    cdef Py_ssize_t _draw(self, double now)

    cdef Py_ssize_t _draw_one(self)

    @cython.locals(ramp=cython.double)
    cdef bint _warm(self, Member member, double now)

    cdef Member _better(self, Member one, Member other, double now)

    @cython.locals(state=cython.ulonglong)
    cdef unsigned long long _random(self)

    @cython.locals(limit=cython.ulonglong)
    cdef Py_ssize_t _below(self, Py_ssize_t bound)


cdef class LeastRequests(TwoChoices):
    cdef list _sums

    @cython.locals(total=cython.double, member=Member)
    cpdef void refresh(self)

    @cython.locals(busy=cython.Py_ssize_t, here=cython.double, there=cython.double)
    cdef Member _better(self, Member one, Member other, double now)

    @cython.locals(
        count=cython.Py_ssize_t,
        low=cython.Py_ssize_t,
        high=cython.Py_ssize_t,
        middle=cython.Py_ssize_t,
        point=cython.double,
        bound=cython.double,
    )
    cdef Py_ssize_t _draw_one(self)


cdef class PeakEwma(TwoChoices):
    @cython.locals(here=cython.double, there=cython.double)
    cdef Member _better(self, Member one, Member other, double now)
