import cython

from lbproxy.proxy.desk cimport Desk
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.upstream.single cimport SingleUpstream, learns_session
from lbproxy.wire.ajp13_request cimport Facts
from lbproxy.wire.ajp13_response cimport Ajp13Reader
from lbproxy.wire.request_head cimport RequestHead
from lbproxy.wire.http1_response cimport ResponseHead

cdef double _PING_AFTER_S
cdef Py_ssize_t _READ_AHEAD, _READ_AHEAD_PACKETS, _RESUME_PACKETS, _MOST_UNREAD, _DENSE_FROM
cdef int _FORBIDDEN
cdef int BODY, END, GET_BODY, HEAD, NEED_MORE, PONG
cdef int ANSWERING, SLOW_NODE
cdef long long NO_BODY
cdef bytes CPING, EMPTY_PACKET
cdef str _ASKS_TWICE, _SHORT

cdef class AjpUpstream(SingleUpstream):
    cdef Ajp13Reader _reader
    cdef Py_ssize_t _most
    cdef bint _pinging
    cdef bint _heard
    cdef ResponseHead _head
    cdef bint _in_step
    cdef Py_ssize_t _asked
    cdef bint _ended
    cdef bytes _body
    cdef Py_ssize_t _at
    cdef list _more
    cdef Py_ssize_t _waiting
    cdef bint _holding

    @cython.locals(link=Link)
    cdef send_request(self, Exchange exchange)
    cdef bint _in_doubt(self, Exchange exchange) except -1
    @cython.locals(
        link=Link, facts=Facts, packet=bytes, lines=bytes, head=RequestHead,
    )
    cdef _forward(self, Exchange exchange)
    @cython.locals(held=bytes)
    cdef _begin_body(self, Exchange exchange)
    @cython.locals(exchange=Exchange, most=Py_ssize_t)
    cpdef send_body(self, bytes payload, bint last)
    @cython.locals(size=Py_ssize_t)
    cdef _supply(self, Exchange exchange)
    cdef _forget_body(self)

    @cython.locals(
        reader=Ajp13Reader, payload=bytes, pieces=list, asked=bint, received=Py_ssize_t, kind=int,
    )
    cpdef receive(self, Exchange exchange, bytes data)
    @cython.locals(kind=int)
    cdef _read_pong(self, Exchange exchange)
    cdef _read_question(self, Exchange exchange, Py_ssize_t wanted)
    @cython.locals(reader=Ajp13Reader, head=ResponseHead, status=int)
    cdef _read_end(self, Exchange exchange, bytes payload)
    @cython.locals(head=ResponseHead)
    cdef _respond(self, Exchange exchange, bytes payload, bint complete)
    cdef bint clean(self, Exchange exchange) except -1

    cdef _refuse(self, Exchange exchange, error)
    @cython.locals(exchange=Exchange)
    cpdef ping_failed(self)
    cdef _end_pinging(self, Exchange exchange)
    @cython.locals(unread=bint)
    cdef lost(self, Exchange exchange, error)
    cpdef pause_writing(self)
    cpdef resume_writing(self)
