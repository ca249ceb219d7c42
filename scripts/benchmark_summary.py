"""What an accuracy benchmark found, in words: summary.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FORCES, ENERGIES = "force_rmse_mev_per_angstrom", "energy_rmse_mev"
VALIDATION = "validation_energy_rmse_mev"
#: Largest change of the baseline's validation error, over the last step in training time, with
#: which its training counts as converged.
CONVERGED = 0.05
#: Largest share by which a training may have missed its time without a word about it.
MISSED = 0.1
Row = Mapping[str, Any]


def summary(rows: Sequence[Row]) -> str:
    """Tables and sentences about all runs, in Markdown.

    Args:
        rows: Rows of results.csv.
    """
    done = [row for row in rows if row["status"] == "done"]
    parts = [f"# Accuracy benchmark: {', '.join(_values(rows, 'dataset'))}"]
    if done:
        parts.append(EXPLANATION)
    for test, host, size in _groups(done, "test", "host", "train_size"):
        group = _where(done, test=test, host=host, train_size=size)
        parts += list(_place(group, f"{host}, {size} frames, judged on {test}"))
    parts += list(_time(done))
    if len(done) < len(rows):
        parts.append("## Failed runs")
        for row in rows:
            if row["status"] != "done":
                parts.append(f"- {_name(row)}, seed {row['seed']}: {row.get('reason') or 'failed'}")
    return "\n\n".join(parts) + "\n"


EXPLANATION = """\
Mean and standard deviation over seeds; errors are root mean squares. A ratio is that of the
method's error to the baseline's with the same seed at the same length of training (geometric mean,
and the standard deviation over seeds). A method *helps* or *does harm* if its mean ratio differs
from 1 by more than that deviation, and is *within spread* otherwise; one seed allows no verdict.
The baseline is that plain training with the lower error in forces. The time is that of the whole
run, imports included (CPU time, on the CPU); a student's has the models of the difference, the
sampling and the labels in it."""


def _time_of(rows: Sequence[Row]) -> str:
    return "cpu_s" if rows[0].get("device") == "cpu" else "wall_clock_s"


def _place(group: Sequence[Row], title: str) -> Iterator[str]:
    lengths = sorted({_length(row) for row in group})
    last = [row for row in group if _length(row) == lengths[-1]]
    baseline = _baseline(last)
    named = f"baseline: {baseline}" if baseline else "no baseline was run"
    yield f"## {title}, {_words(lengths[-1])} of training ({named})"
    head = "| method | seeds | forces (meV/Å) | ratio | energy (meV) | ratio | slope | time (s) "
    lines = [head + "| in short |", "| --- " * 9 + "|"]
    plain = [row for row in last if row["method"] == baseline]
    for method in _values(last, "method"):
        own = [row for row in last if row["method"] == method]
        forces, energies = (ratios(own, plain, error) for error in (FORCES, ENERGIES))
        cells = [own[0].get("title") or method, str(len(own))]
        cells += [_spread(own, FORCES, 0), _ratio(forces), _spread(own, ENERGIES, 1)]
        cells += [_ratio(energies), _spread(own, "slope", 3), _spread(own, _time_of(own), 0)]
        cells.append(_short(own, plain, forces, energies, is_baseline=method == baseline))
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines)
    yield from _convergence(group, lengths)


def _short(
    own: Sequence[Row],
    plain: Sequence[Row],
    forces: Sequence[float],
    energies: Sequence[float],
    *,
    is_baseline: bool,
) -> str:
    if is_baseline:
        return "baseline"
    more = plain and own[0].get("n_force_frames") and own[0]["forces"] != plain[0]["forces"]
    words = f"forces: {verdict(forces)}; energies: {verdict(energies)}"
    return f"more labels; {words}" if more else words


def ratios(own: Sequence[Row], plain: Sequence[Row], error: str) -> list[float]:
    """Ratios of a method's errors to the baseline's, seed by seed.

    Args:
        own: The method's rows.
        plain: The baseline's.
        error: Name of the error's column.
    """
    beside = {row["seed"]: row.get(error) for row in plain}
    return [
        row[error] / beside[row["seed"]]
        for row in own
        if row.get(error) and beside.get(row["seed"])
    ]


def verdict(found: Sequence[float]) -> str:
    """Whether ratios of errors differ from 1 by more than they differ from each other."""
    if not found:
        return "no baseline"
    if len(found) == 1:
        return "one seed, no verdict"
    logs = [math.log(ratio) for ratio in found]
    mean, deviation = statistics.mean(logs), statistics.stdev(logs)
    if abs(mean) <= deviation:
        return "within spread"
    return "helps" if mean < 0.0 else "does harm"


def _convergence(group: Sequence[Row], lengths: Sequence[tuple[str, float]]) -> Iterator[str]:
    if len(lengths) < 2:
        yield "Convergence is not known: there is one length of training only (add half and twice)."
        return
    before, after = lengths[-2:]
    lines, warnings = [], []
    for method in _values(group, "method"):
        own = [row for row in group if row["method"] == method]
        pair = [[row for row in own if _length(row) == length] for length in (before, after)]
        changes = {
            name: ratios(pair[1], pair[0], error)
            for name, error in (("validation", VALIDATION), ("forces", FORCES))
        }
        told = [f"{name} {_percent(found)}" for name, found in changes.items() if found]
        if told:
            lines.append(f"{method}: {', '.join(told)}")
        change = _mean(changes["validation"]) - 1.0 if changes["validation"] else 0.0
        if own[0].get("baseline") and abs(change) > CONVERGED:
            warnings.append(
                f"**{method} has not converged**: its validation error still changed by "
                f"{100 * change:+.0f} %, so that whatever learns faster looks better than it is. "
                "Train longer (--budgets)."
            )
    yield f"From {_words(before)} to {_words(after)}, errors changed by: {'; '.join(lines)}."
    yield from warnings


def _time(rows: Sequence[Row]) -> Iterator[str]:
    """Which trainings missed their time by much."""
    missed = []
    for row in rows:
        key = "training_cpu_s" if row.get("device") == "cpu" else "training_s"
        used = row.get(key) or row.get("training_s")
        if row.get("budget_s") and used and abs(used / row["budget_s"] - 1.0) > MISSED:
            missed.append(
                f"- {_name(row)}, seed {row['seed']}: {used:.0f} s of {row['budget_s']:g}"
            )
    if missed:
        yield f"## Trainings that missed their time by more than {100 * MISSED:.0f} %"
        yield "\n".join(dict.fromkeys(missed))


def _baseline(rows: Sequence[Row]) -> str | None:
    errors = {
        method: [
            float(r.get(FORCES) or r.get(ENERGIES) or math.inf)
            for r in rows
            if r["method"] == method
        ]
        for method in _values([row for row in rows if row.get("baseline")], "method")
    }
    return min(errors, key=lambda method: _mean(errors[method])) if errors else None


def _length(row: Row) -> tuple[str, float]:
    budget = row.get("budget_s")
    return ("epochs", float(row["epochs"])) if budget is None else ("s", float(budget))


def _words(length: tuple[str, float]) -> str:
    return f"{length[1]:g} {length[0]}"


def _name(row: Row) -> str:
    return f"{row['host']}, {row['method']}, {row['train_size']} frames"


def _values(rows: Sequence[Row], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _groups(rows: Sequence[Row], *keys: str) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(tuple(row[key] for key in keys) for row in rows))


def _where(rows: Sequence[Row], **values: object) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def _mean(values: Sequence[float]) -> float:
    return math.exp(statistics.mean(math.log(value) for value in values))


def _percent(found: Sequence[float]) -> str:
    return f"{100 * (_mean(found) - 1):+.0f} %"


def _ratio(found: Sequence[float]) -> str:
    if not found:
        return "–"
    deviation = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{_mean(found):.2f}{deviation}"


def _spread(rows: Sequence[Row], key: str, digits: int) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"
