import cython

from lbproxy.wire.authority cimport valid_authority, without_empty_port
from lbproxy.wire.fields cimport FieldCursor
from lbproxy.wire.request_head cimport RequestHead

cdef bytes TARGET
cdef bytes VALUE
cdef bytes _LINE_END
cdef bytes _PROTOCOL
cdef bytes _NULL
cdef bytes _CHUNKED
cdef bytes _HEX
cdef bytes _CIPHER, _KEY_SIZE, _SSL_PROTOCOL, _REMOTE_PORT, _LOCAL_ADDR, _END
cdef dict _METHODS
cdef bytes _CODES, _ENDS_HERE
cdef int CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT
cdef long long _CHUNKED_BODY
cdef int _MAX_PACKET_SIZE, _MAX_FIELDS, _MAX_NAME, _OPTIONS
cdef int _FORWARD_REQUEST, _BY_NAME, _CODED
cdef int _QUERY, _ROUTE, _SECRET, _STORED_METHOD

@cython.locals(octets="const unsigned char *", value="const unsigned char *", n=Py_ssize_t, i=Py_ssize_t)
cdef bytes _string(bytes text)

cdef class Facts:
    cdef readonly bytes remote_addr
    cdef readonly long remote_port
    cdef readonly bytes local_addr
    cdef public long server_port
    cdef readonly bint secure
    cdef readonly bytes tls_protocol
    cdef readonly bytes tls_cipher
    cdef readonly long tls_key_size
    cdef public bytes secret
    cdef public bytes route
    cdef public bytes authority
    cdef readonly bytes client
    cdef readonly bytes tail

    @cython.locals(tail=bytes)
    cdef bytes _last_attributes(self)

cdef class Ajp13Encoder(FieldCursor):
    cdef bytearray _packet
    cdef Py_ssize_t _at
    cdef Py_ssize_t _limit
    cdef int _left
    cdef int _hosts
    cdef bint _has_length

    @cython.locals(
        data="const char *", out="unsigned char *", p=Py_ssize_t, method=int, query=Py_ssize_t,
        count_at=Py_ssize_t, count=int, port=long, authority=bytes,
    )
    cpdef bytes forward_request(
        self, RequestHead head, bytes lines, Facts facts, Py_ssize_t packet_size
    )
    @cython.locals(octets="const unsigned char *", target=bytes, n=Py_ssize_t, p=Py_ssize_t)
    cdef Py_ssize_t _path(self, RequestHead head, int method) except -1
    @cython.locals(
        octets="const unsigned char *", method=bytes, n=Py_ssize_t, i=Py_ssize_t, size=Py_ssize_t
    )
    cdef int _check_line(self, RequestHead head) except -1

    @cython.locals(octets="const unsigned char *", n=Py_ssize_t, p=Py_ssize_t, port=long, usual=long)
    cdef long _server(self, bytes authority, Facts facts) except -1

    @cython.locals(
        octets="const unsigned char *", codes="const unsigned char *", ends_here="const unsigned char *",
        step=int, size=Py_ssize_t, kind=int, code=int,
    )
    cdef _run(self, bytes authority)
    @cython.locals(start=Py_ssize_t, run=bytes)
    cdef int _all_fields(self, RequestHead head, bytes lines, bytes authority) except -1

    @cython.locals(out="unsigned char *")
    cdef int _byte(self, int value) except -1
    @cython.locals(out="unsigned char *", p=Py_ssize_t)
    cdef int _number(self, int value) except -1
    cdef int _full(self) except -1

    @cython.locals(
        octets="const unsigned char *", out="unsigned char *", n=Py_ssize_t, p=Py_ssize_t, i=Py_ssize_t
    )
    cdef int _plain(self, bytes block) except -1
    @cython.locals(out="unsigned char *", p=Py_ssize_t, i=Py_ssize_t)
    cdef int _copy(self, const unsigned char *octets, Py_ssize_t start, Py_ssize_t size) except -1
    @cython.locals(octets="const unsigned char *", value="const unsigned char *", i=Py_ssize_t)
    cdef int _put(self, bytes text) except -1

    @cython.locals(target="const unsigned char *")
    cdef Py_ssize_t _skip_target(self, const unsigned char *octets, Py_ssize_t p, Py_ssize_t n)

    @cython.locals(
        out="unsigned char *", target="const unsigned char *", hexadecimal="const unsigned char *",
        begin=Py_ssize_t, at=Py_ssize_t, last=Py_ssize_t,
    )
    cdef Py_ssize_t _target(
        self, const unsigned char *octets, Py_ssize_t p, Py_ssize_t n, bint path
    ) except -1
