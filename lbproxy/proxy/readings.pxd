cimport cython

from lbproxy.config.paths cimport readings
from lbproxy.wire.http1_request cimport RequestHead

cdef tuple _ROOT

@cython.locals(ways=tuple)
cpdef tuple readings_of(RequestHead head)
