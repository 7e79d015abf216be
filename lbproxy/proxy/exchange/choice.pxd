import cython

from lbproxy.cluster.sticky cimport Verdict
from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.record cimport Record
from lbproxy.proxy.nodes.announced cimport Announced
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.proxy.nodes.serving cimport Applications, Serving, Tally
from lbproxy.wire.http1_response cimport ResponseHead

cdef tuple _NO_CURE

cdef class Choice(Record):
    cdef public Desk desk
    cdef public bytes host
    cdef public Link chosen
    cdef public Verdict verdict
    cdef public list tried
    cdef public bint renewed
    cdef public Serving serving
    cdef public Tally tally
    cdef public bint body_sent
    cdef public Link tied
    cdef public bint knocks
    cdef public bint crowded
    cdef public bint in_turn

    cdef begin_choice(self, Desk desk)
    cpdef name_host(self)
    cpdef Link choose(self, double now)
    @cython.locals(pool=Pool, announced=Announced, verdict=Verdict, tried=list, member=Link)
    cdef Link _find(self, double now)
    cdef bint _overtakes(self, Pool pool, Link owner) except -1
    cpdef aim(self)
    @cython.locals(pool=Pool, tied=Link, verdict=Verdict)
    cpdef Link move_on(self, double now)
    @cython.locals(pool=Pool)
    cpdef lack(self)
    @cython.locals(pool=Pool, link=Link)
    cpdef Link choose_again(self, double now, cause)
    @cython.locals(pool=Pool, announced=Announced, wait_s=double)
    cpdef double wait_s(self, failure) except? -1
    cpdef bint wait(self, failure) except -1
    @cython.locals(pool=Pool, tried=list, verdict=Verdict, other=Link, free=bint)
    cpdef Link again(self, Link link, failure, bint sent)
    @cython.locals(pool=Pool, announced=Announced)
    cdef count_in(self, Link link)
    @cython.locals(link=Link)
    cdef count_out(self)
    @cython.locals(pool=Pool, link=Link, verdict=Verdict)
    cdef keep_session(self, ResponseHead head)

@cython.locals(link=Link, found=Link)
cdef Link _last_resort(Pool pool, list tried)
