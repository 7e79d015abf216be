cimport cython

from lbproxy.config.paths cimport Visibility
from lbproxy.config.routes cimport RouteFinder
from lbproxy.proxy.pool cimport Pool

cdef class Routing:
    cdef RouteFinder _finder
    cdef list _pools

    @cython.locals(pool=Pool)
    cpdef Pool pool_for(self, bytes host, bytes path)
    @cython.locals(index=Py_ssize_t)
    cdef Pool _route(self, bytes host, bytes path)
    cdef _look_for_hidden(self, Pool pool, bytes path)
