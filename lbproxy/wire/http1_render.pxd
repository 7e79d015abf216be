import cython

from lbproxy.wire.request_head cimport RequestHead

cdef long long _CHUNKED

@cython.locals(end=bytes)
cpdef bytes render(RequestHead head, bytes forwarded, bytes request_id)
