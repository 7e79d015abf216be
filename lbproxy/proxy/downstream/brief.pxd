cimport cython

from lbproxy.proxy.downstream.http1 cimport ClientConnection
from lbproxy.proxy.forwarding.asker cimport ClientView
from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.wire.request_head cimport RequestHead

cpdef bint redirects(ClientConnection client) except -1
@cython.locals(view=ClientView)
cpdef Py_ssize_t redirect(ClientConnection client, RequestHead head) except -1
cpdef Py_ssize_t options(ClientConnection client, RequestHead head) except -1
@cython.locals(exchange=Exchange)
cdef Py_ssize_t _answer(
    ClientConnection client, RequestHead head, int status, str reason, make
) except -1
