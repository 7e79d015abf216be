"""Compile the modules of the request path; everything else in the build is in pyproject.toml.

Each compiled module is an ordinary .py file with a .pxd beside it that tells Cython the C types.
So the readable source is also the fast one, and it still runs (slowly) where it is not compiled.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import setup

COMPILED = sorted(str(pxd.with_suffix(".py")) for pxd in Path("lbproxy").rglob("*.pxd"))

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
