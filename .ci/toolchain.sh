#!/bin/sh
# Find what the build needs. Prints "ok PYTHON", or one line for a person that says what is
# missing and what to do. The Makefile shows that line and stops.
#
# usage: toolchain.sh [PYTHON]    look at this Python only, and not for its venv module
#
# The newest complete Python wins; where none is complete, the newest that is new enough is
# the one to complain about.

probe='
import os, sys
if sys.version_info < (3, 11):
    print("old %d.%d" % sys.version_info[:2])
    sys.exit()
import shlex, shutil, sysconfig
from importlib.util import find_spec
compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
if len(sys.argv) == 1 and not (find_spec("venv") and find_spec("ensurepip")):
    print("venv %d.%d" % sys.version_info[:2])
elif not shutil.which(compiler):
    print("compiler " + compiler)
elif not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    print("headers %d.%d" % sys.version_info[:2])
else:
    print("ok")
'

problem=
for python in ${1:-python3.13 python3.12 python3.11 python3}; do
    answer=$("$python" -c "$probe" ${1:+inside} 2>/dev/null) || continue
    case $answer in
        ok) echo "ok $python"; exit 0 ;;
        old*) problem=${problem:-$answer} ;;
        ?*) case $problem in "" | old*) problem=$answer ;; esac ;;
    esac
done

again='then run make again'
version=${problem#* }
case $problem in
    old*) echo "lbproxy needs Python 3.11 or newer and found only $version: install one (Debian 12+, Ubuntu 23.04+: apt install python3 python3-venv python3-dev; Fedora: dnf install python3 python3-devel), $again" ;;
    venv*) echo "Python $version lacks its venv module: install it (Debian, Ubuntu: apt install python$version-venv), $again" ;;
    compiler*) echo "no C compiler ($version is not in PATH): install one (Debian, Ubuntu: apt install gcc python3-dev; Fedora: dnf install gcc python3-devel), $again" ;;
    headers*) echo "Python $version lacks its C headers: install them (Debian, Ubuntu: apt install python$version-dev; Fedora: dnf install python$version-devel), $again" ;;
    *) echo "no Python found: install 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv python3-dev; Fedora: dnf install python3 python3-devel), $again" ;;
esac
