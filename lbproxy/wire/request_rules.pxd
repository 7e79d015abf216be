import cython

from lbproxy.wire.authority cimport valid_authority, without_empty_port
from lbproxy.wire.edit cimport without_lines, without_nominated
from lbproxy.wire.fields cimport DropRules, FieldCursor
from lbproxy.wire.request_head cimport RequestHead

cdef int CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, MAX_FORWARDS, TRANSFER_ENCODING
cdef int UPGRADE, X_REQUEST_ID
cdef int GET, NO_BODY, OPTIONS
cdef long long CHUNKED
cdef bytes _REQUEST_ID
cdef frozenset _CONNECTION_KNOWN

cdef class RequestRules(FieldCursor):
    cdef readonly DropRules drops
    cdef bint respell_length
    cdef bint _absolute
    cdef bint _keep_received
    cdef bint _respell_host
    cdef bint _has_host
    cdef bint _has_length
    cdef bint _coded
    cdef bint _close
    cdef bint _keep
    cdef bint _upgrade
    cdef bint _wants_upgrade
    cdef Py_ssize_t _members
    cdef Py_ssize_t _forwarded
    cdef set _nominated

    cdef start(self, bint absolute, bint keep_received)
    cdef bint apply(self, RequestHead head, int kind) except -1
    @cython.locals(name=bytes, value=bytes)
    cdef bint removes(self, RequestHead head) except -1
    @cython.locals(parts=list)
    cdef finish(self, RequestHead head)
    @cython.locals(host=bytes)
    cdef bint _host(self, RequestHead head) except -1
    cdef _connection(self)
    @cython.locals(value=bytes)
    cdef _read_max_forwards(self, RequestHead head)
    @cython.locals(octets="const unsigned char *", allowed="const unsigned char *", p=Py_ssize_t)
    cdef bint _valid_request_id(self) noexcept
