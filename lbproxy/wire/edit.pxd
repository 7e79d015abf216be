import cython

from lbproxy.wire.request_head cimport RequestHead

cdef bytes _LINE_END, _COOKIE

@cython.locals(kept=list, line=bytes)
cpdef bytes without_lines(bytes run, names)
@cython.locals(run=bytes)
cpdef without_nominated(list parts, nominated, malformed)
@cython.locals(run=bytes, kept=list, line=bytes, new=bytes)
cpdef replace_cookies(list parts, lines)
@cython.locals(target=bytes, names=tuple, run=bytes, kept=list, line=bytes, rest=bytes)
cpdef without_session(RequestHead head, cookies, parameters)
cpdef bytes without_parameter(bytes target, bytes name)
cdef bint _is_cookie(bytes line)
@cython.locals(value=bytes, name=bytes)
cdef bytes _without_cookies(bytes line, tuple names)
@cython.locals(line=bytes)
cdef _replace_target(RequestHead head, bytes target)
