cimport cython

from lbproxy.proxy.exchange.exchange cimport Exchange
from lbproxy.proxy.nodes.link cimport Link
from lbproxy.proxy.nodes.pool cimport Pool

@cython.locals(pool=Pool, other=Link, tried=list)
cpdef Link next_link(Exchange exchange, Link link, failure)
