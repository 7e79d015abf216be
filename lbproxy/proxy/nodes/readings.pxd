cimport cython

from lbproxy.routing.paths cimport readings
from lbproxy.wire.request_head cimport RequestHead

cdef tuple _ROOT

@cython.locals(ways=tuple)
cpdef tuple readings_of(RequestHead head)
