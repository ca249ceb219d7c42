"""Programs in forks of a process that has imported their modules: as they are, without the wait.

Importing a host takes three seconds, training the smallest model often less than one. What a fork
runs is the program's own file from its first line; only its imports are there already. Programs
whose start is what a test looks at are started by `processes.execute` instead.
"""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from processes import clean_environment

LONGEST = 600  # seconds of a program, after which it is ended
SERVER = f"""
import atexit, gc, importlib, json, os, runpy, signal, sys, traceback

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what modules print as they are imported is no answer
for name in sys.argv[1:]:
    importlib.import_module(name)
gc.freeze()  # or each fork would copy most of the memory when it collects
for line in sys.stdin:
    wanted = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
else:
    sys.exit()
signal.alarm({LONGEST})
os.chdir(wanted["folder"])
for stream, path in enumerate(["/dev/null", *wanted["outputs"]]):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT if stream else os.O_RDONLY), stream)
sys.argv = wanted["words"]
status = 0
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as error:
    status = error.code or 0
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
except BaseException:
    traceback.print_exc()
    status = 1
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)  # to take all those modules apart takes longer than many a program
"""


class Forks:
    """A process that imports modules once, and runs programs in forks of itself."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=clean_environment(),
            text=True,
        )

    def execute(self, command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a program, a Python file and its words, to its end in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            outputs = [Path(name, stream) for stream in ("stdout", "stderr")]
            wanted = {"folder": folder, "outputs": outputs, "words": list(command)}
            print(json.dumps(wanted, default=str), file=self._process.stdin, flush=True)
            status = int(self._process.stdout.readline())
            told = [path.read_text(encoding="utf-8") for path in outputs]
        return subprocess.CompletedProcess(command, status, *told)

    def close(self) -> None:
        """End the process."""
        self._process.communicate("", timeout=10)


@functools.cache
def forks(*modules: str) -> Forks:
    """The one process with these modules."""
    made = Forks(*modules)
    atexit.register(made.close)
    return made
