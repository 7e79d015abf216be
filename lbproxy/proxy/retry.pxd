cimport cython

from lbproxy.proxy.exchange cimport Exchange
from lbproxy.proxy.link cimport Link
from lbproxy.proxy.pool cimport Pool

@cython.locals(pool=Pool, replayable=bint, other=Link, tried=list)
cpdef Link next_link(Exchange exchange, Link link, failure)
