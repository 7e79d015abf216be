import cython

from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.exchange.choice cimport Choice
from lbproxy.proxy.exchange.downstream cimport Downstream
from lbproxy.proxy.exchange.stages cimport clock, follows
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.proxy.rules cimport Rules

cdef int ANSWERING, ASKED, BEGUN, ROOM, NO_CLOCK, NODE_CLOCK, TUNNEL_CLOCK, SLOW_NODE
cdef long long NO_BODY
cdef double _NEVER

cdef class Course(Choice):
    cdef public Rules rules
    cdef public Downstream downstream
    cdef public int stage
    cdef public double deadline
    cdef public double response_timeout
    cdef public double sent_at
    cdef public bint whole
    cdef public bint invited
    cdef public int held_for
    cdef public bytes early
    cdef public double queued_at

    cdef begin_course(self, Desk desk, Downstream downstream)
    cdef enter(self, int stage)
    @cython.locals(wait_s=double, pool=Pool)
    cpdef bint wait(self, failure) except -1
    cdef leave_room(self, end)
    cpdef hurry(self)
    cpdef try_again(self, double now, cause)
    cpdef bint holds_back(self) except -1
    cdef bint clients_turn(self) except -1
    @cython.locals(rules=Rules, kind=int)
    cdef limit(self, bint clients_turn)
    cpdef heard(self)
    cpdef hold(self, int why)
    cpdef release(self, int why)
    cpdef keep_early(self, bytes payload)
    @cython.locals(early=bytes)
    cpdef bytes take_early(self)
