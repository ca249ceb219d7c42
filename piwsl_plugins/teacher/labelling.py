"""Labels of frames by a cheap method: computed side by side, and kept."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import hashlib
import importlib
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import ase
import joblib
import numpy as np
from ase.calculators.calculator import CalculatorError
from joblib.externals.loky import ProcessPoolExecutor
from tqdm import tqdm

from piwsl_plugins.data.frames import Floats
from piwsl_plugins.teacher.methods import Method
from piwsl_plugins.teacher.state import stated

HOPELESS = 20  # frames that all fail before any is labelled; the rest is not tried then
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Labels(NamedTuple):
    """Energy (eV), forces (shape [n_atoms, 3], eV/angstrom), and stress ([3, 3], eV/angstrom^3).

    The stress is None without a cell or where the method has none.
    """

    energy: float
    forces: Floats
    stress: Floats | None = None


def compute_labels(
    frames: Sequence[ase.Atoms],
    method: Method,
    cache: Path,
    *,
    processes: int | None = None,
    timeout: float | None = None,
    dask: str | None = None,
) -> list[Labels | Failure]:
    """Labels of frames by a method; what is computed is kept, so that a rerun resumes.

    The folder ``cache`` has a file of each method, with a line of JSON for each frame; processes,
    timeout and dask are as for :func:`side_by_side`. A ValueError says that the method is not
    installed, or failed for each of the first frames.
    """
    method.calculator()
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"{method.digest()}.jsonl"
    found: dict[str, Labels | Failure] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):  # a line that was cut off, or an empty one
            key, (energy, forces, stress) = json.loads(line)
            found[key] = Labels(energy, np.array(forces), stress and np.array(stress))
    keys = [_key(frame) for frame in frames]
    missing = {key: frame for key, frame in zip(keys, frames, strict=True) if key not in found}
    names, failed, work = list(missing), 0, functools.partial(evaluate, method)
    how: dict[str, Any] = {"processes": processes, "timeout": timeout, "dask": dask}
    results = side_by_side(work, [*missing.values()], device=method.runs_on, **how)
    bar = tqdm(total=len(names), desc=method.method, disable=None)
    with bar, contextlib.closing(results), file.open("a", encoding="utf-8") as stream:
        for done, (number, result) in enumerate(results, 1):
            found[names[number]] = result
            bar.update()
            if isinstance(result, Failure):
                failed += 1
            else:
                line = json.dumps([names[number], result], default=np.ndarray.tolist)
                print(f"\n{line}", file=stream, flush=True)
            if failed == done == HOPELESS:
                what = f"each of the first {HOPELESS} frames, the last time with: {result}"
                raise ValueError(f"{method.method} failed for {what}")
    return [found[key] for key in keys]


def evaluate(method: Method, atoms: ase.Atoms) -> Labels:
    """Labels of a frame; a ValueError says that one is not finite."""
    bare = atoms.copy()
    bare.calc = calculator = method.calculator()
    energy, forces, stress = float(bare.get_potential_energy()), np.array(bare.get_forces()), None
    in_cell = atoms.pbc.any() and atoms.cell.rank == 3
    if in_cell and "stress" in calculator.inner(bare.copy()).implemented_properties:
        stress = np.array(bare.get_stress(voigt=False))
    for name, value in (("energy is", energy), ("forces are", forces), ("stress is", stress)):
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"the {name} not finite")
    return Labels(energy, forces, stress)


def digest_of(text: str, atoms: ase.Atoms) -> str:
    """Digest of a text and of a geometry to the last bit, the cell where it is periodic."""
    found = hashlib.sha256(text.encode())
    found.update(atoms.numbers.astype("<i8").tobytes() + atoms.positions.astype("<f8").tobytes())
    if atoms.pbc.any():
        found.update(atoms.pbc.astype("u1").tobytes() + atoms.cell.array.astype("<f8").tobytes())
    return found.hexdigest()


def _key(atoms: ase.Atoms) -> str:
    states = {key: np.asarray(value).tolist() for key, value in stated(atoms).items()}
    return digest_of(str(states), atoms)


class Failure(str):
    """Why a call has no result."""

    __slots__ = ()


def side_by_side(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    processes: int | None = None,
    timeout: float | None = None,
    device: str = "cpu",
    dask: str | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Call a function on each item, in processes with one thread each that end with this one.

    A call that raises, crashes its process, or takes more seconds than ``timeout`` has a
    :class:`Failure`. Those that were under way beside a crash are made again, one at a time.
    Without ``processes``, there are as many as cores, and one on a GPU; with ``dask``, a
    scheduler's address, its workers make the calls. Yields each item's number and its result, in
    no particular order.
    """
    if dask is not None:
        yield from _on_cluster(functools.partial(_call, function, timeout=timeout), items, dask)
        return
    width = processes or (int(joblib.cpu_count()) if device == "cpu" else 1)
    waiting, suspects = deque(enumerate(items)), deque[tuple[int, Any]]()
    while waiting or suspects:
        under_way: dict[Future[Any], tuple[int, Any]] = {}
        pool = ProcessPoolExecutor(
            width, initializer=_begin, initargs=(os.getpid(),), env=dict.fromkeys(_THREADS, "1")
        )
        try:
            while waiting or suspects or under_way:
                queue, most = (suspects, 1) if suspects else (waiting, width)
                while queue and len(under_way) < most:
                    future = pool.submit(_call, function, queue[0][1], timeout)
                    under_way[future] = queue.popleft()
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield under_way.pop(future)[0], result
        except BrokenProcessPool:
            suspects.extend(under_way.values())
            if len(under_way) == 1:
                limit = "" if timeout is None else f", or took longer than {timeout:g} s"
                yield suspects.pop()[0], Failure(f"its process died{limit}")
        finally:
            pool.shutdown(kill_workers=True)


def _on_cluster(
    function: Callable[[Any], Any], items: Sequence[Any], address: str
) -> Generator[tuple[int, Any], None, None]:
    """Call a function on each item, by Dask's workers; a call whose worker dies is made again."""
    try:
        distributed = importlib.import_module("distributed")
        client = distributed.Client(address)
    except (ImportError, OSError, ValueError) as error:
        raise ValueError(
            f"--dask {address}: {error}; expected the address of a running Dask scheduler, as "
            "tcp://host:8786, and distributed installed here and there: pip install "
            "'piwsl-plugins[dask]'"
        ) from error
    with client:
        suspects = list[int]()
        numbers = {f: n for n, f in enumerate(client.map(function, items, pure=False))}
        for future in distributed.as_completed(numbers):
            number = numbers.pop(future)
            if future.status == "finished":
                yield number, future.result()
            else:  # it was where workers died; which call they died of is not known
                suspects.append(number)
        for number in suspects:
            reason = (alone := client.submit(function, items[number], pure=False)).exception()
            yield number, Failure(f"Dask gave it up: {reason}") if reason else alone.result()


def _call(function: Callable[[Any], Any], item: Any, timeout: float | None) -> Any:  # noqa: ANN401
    """Call a function; where it takes too long, end this process, whatever it is doing."""
    if timeout is not None:
        faulthandler.dump_traceback_later(timeout, exit=True, file=1)
    try:
        return function(item)
    except Exception as error:  # whatever a calculator raises about a frame
        words = " ".join(str(error).split())
        is_plain = isinstance(error, (CalculatorError, ValueError)) and words
        return Failure(words if is_plain else f"{type(error).__name__}: {words}")
    finally:
        faulthandler.cancel_dump_traceback_later()


def _begin(parent: int) -> None:
    """What a process does before its first call: quiet, and never longer there than its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells of an interruption
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print of each calculation
    warnings.simplefilter("ignore")


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
