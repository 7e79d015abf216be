cimport cython

from lbproxy.routing.paths cimport refuse_doubtful
from lbproxy.routing.routes cimport RouteFinder
from lbproxy.proxy.nodes.pool cimport Pool
from lbproxy.proxy.nodes.readings cimport readings_of
from lbproxy.wire.request_head cimport RequestHead

cdef class Routing:
    cdef RouteFinder _finder
    cdef readonly object pools
    cdef list _pools

    @cython.locals(pool=Pool, index=Py_ssize_t)
    cpdef Pool pool_for(self, bytes host, RequestHead head)
    cdef Pool _pool(self, Py_ssize_t index)
    @cython.locals(pool=Pool, number=Py_ssize_t, finder=RouteFinder)
    cdef Pool _by_path(self, bytes host, tuple ways)
    @cython.locals(rule=bytes)
    cdef _look_for_hidden(self, Pool pool, RequestHead head)
