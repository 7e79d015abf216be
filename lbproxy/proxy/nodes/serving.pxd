import cython

from lbproxy.cluster.balance cimport Balancer, Member
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.readings cimport readings_of
from lbproxy.wire.request_head cimport RequestHead

cdef Py_ssize_t _SWEEP_ABOVE


cdef class Tally:
    cdef public Py_ssize_t count


cdef class Serving:
    cdef public str path
    cdef public dict owners
    cdef public bint panic
    cdef public bint stopped
    cdef public object balancers
    cdef public Py_ssize_t version
    cdef public Py_ssize_t loads
    cdef public dict tallies
    cdef object _settings
    cdef object _seed
    cdef Balancer _balancer
    cdef list _takers
    cdef list _spares
    cdef dict _domains
    cdef dict _spare_domains

    cpdef void replace(self, list takers, dict owners, list spares)
    @cython.locals(balancer=Balancer)
    cpdef void refresh(self)
    cpdef Member pick(self, double now, bytes session, list tried)
    @cython.locals(balancer=Balancer, found=Member)
    cpdef Member pick_inside(self, str domain, double now, bytes session, list tried)
    @cython.locals(balancer=Balancer, member=Member)
    cdef Balancer _inside(self, dict known, str domain, list members)


cdef class Table:
    cdef public object names
    cdef public Py_ssize_t version
    cdef public object offers
    cdef public dict applications
    cdef public bint divided
    cdef dict _contexts
    cdef Py_ssize_t _longest

    cpdef str find(self, bytes path)
    @cython.locals(context=str, number=Py_ssize_t)
    cpdef str find_in(self, tuple ways)
    cpdef str any_path(self)
    @cython.locals(end=Py_ssize_t, size=Py_ssize_t, contexts=dict)
    cdef str _read(self, bytes path)


cdef class Applications:
    cdef object _settings
    cdef bint _match_alias
    cdef object _seed
    cdef Py_ssize_t _version
    cdef Py_ssize_t _loads
    cdef object _nodes
    cdef object _links
    cdef set _aliases
    cdef object _surveyor
    cdef Table _table
    cdef dict _tables
    cdef dict _tallies
    cdef Py_ssize_t _sweep_above
    cdef public bint anything

    @cython.locals(table=Table, found=Serving)
    cpdef Serving find(self, bytes host, RequestHead head)
    @cython.locals(tally=Tally, current=bint)
    cpdef Tally tally(self, Serving found, Link link)
    @cython.locals(table=Table)
    cdef Table _table_of(self, bytes host, bytes authority)
    cdef _update(self, offers, str context, Serving found)
