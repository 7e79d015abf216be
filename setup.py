"""Compile the modules of the request path; everything else in the build is in pyproject.toml.

Each compiled module is an ordinary .py file with a .pxd beside it that tells Cython the C types.
So the readable source is also the fast one, and it still runs (slowly) where it is not compiled.

LBPROXY_PLAIN=1 in the environment leaves them as they are: `make` installs the checkout first and
compiles in place afterwards, and would else do the work twice.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# Without debug symbols a module is a quarter of the size and built in less time.
COMPILED = [
    Extension(
        ".".join(pxd.with_suffix("").parts),
        [str(pxd.with_suffix(".py"))],
        extra_compile_args=["-g0"],
    )
    for pxd in sorted(Path("lbproxy").rglob("*.pxd"))
    if os.environ.get("LBPROXY_PLAIN") != "1"
]

setup(
    ext_modules=cythonize(
        COMPILED,
        nthreads=2,
        build_dir="build/cython",
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "annotation_typing": False,
        },
    )
)
