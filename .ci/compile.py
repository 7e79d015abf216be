"""Compile what is out of date, with one line that moves instead of the compiler's hundred.

usage: compile.py PYTHON_FILE.pxd...     the declarations beside the modules that are compiled

What the compilers say goes to build/compile.log, and is shown where they fail.
"""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

LOG = Path("build/compile.log")
TAIL = 40  # lines of it that are shown after a failure
MANY = 8  # modules that take so long that somebody wonders
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def outdated(declarations: Iterable[Path]) -> list[Path]:
    """Return the modules whose extension is missing or older than a source."""
    found = []
    for declaration in declarations:
        module = declaration.with_suffix(".py")
        extension = declaration.with_suffix(SUFFIX)
        newest = max(module.stat().st_mtime, declaration.stat().st_mtime)
        if not extension.exists() or extension.stat().st_mtime < newest:
            found.append(module)
    return found


def steps(lines: Iterable[str], total: int) -> Iterator[str]:
    """Yield how far it is, for each line of the compilers that says so."""
    translated = built = 0
    for line in lines:
        if counted := re.match(r"\[ *(\d+)/(\d+)\] Cythonizing", line):
            translated, total = max(translated, int(counted[1])), int(counted[2])
            yield f"translated {translated} of {total}"
        elif re.match(r"building '.+' extension", line):
            built += 1
            total = max(total, built)
            yield f"compiled {built - 1} of {total}"


def logged(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, each written to the log first."""
    with LOG.open("w", encoding="utf-8") as log:
        for line in lines:
            log.write(line)
            yield line


def main(declarations: list[str]) -> int:
    """Compile, and return the compilers' exit code."""
    modules = outdated(map(Path, declarations))
    count = f"{len(modules)} module{'' if len(modules) == 1 else 's'}"
    print(f"compiling {count}{', about a minute' if len(modules) > MANY else ''}", flush=True)
    LOG.parent.mkdir(exist_ok=True)
    moving = sys.stdout.isatty()
    command = [sys.executable, "setup.py", "build_ext", "--inplace", "--parallel", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        assert run.stdout is not None
        for step in steps(logged(run.stdout), len(modules)):
            if moving:
                print(f"\r{step:<30}", end="", flush=True)
    if moving:
        print(f"\r{'':<30}\r", end="", flush=True)
    if run.returncode:
        print(*LOG.read_text("utf-8").splitlines()[-TAIL:], sep="\n", file=sys.stderr)
        print(f"compiling failed; {LOG} holds everything", file=sys.stderr)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
