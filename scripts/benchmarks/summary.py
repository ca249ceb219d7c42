"""What an accuracy benchmark found, in words: summary.md."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

FORCES, ENERGIES = "force_rmse_mev_per_angstrom", "energy_rmse_mev"
VALIDATION = "validation_energy_rmse_mev"
CONVERGED = 0.05
"""Largest change of the baseline's validation error, over the last step in training time, with
which its training counts as converged."""
MISSED = 0.1
"""Largest share by which a training may have missed its time without a word about it."""
EXPLANATION = """\
Mean and standard deviation over seeds; errors are root mean squares. A ratio is that of the
method's error to the baseline's with the same seed at the same length of training (geometric mean,
and the standard deviation over seeds). A method *helps* or *does harm* if its mean ratio differs
from 1 by more than that deviation, and is *within spread* otherwise; one seed allows no verdict.
The baseline is that plain training with the lower error in forces. The time is that of the whole
run, imports included (CPU time, on the CPU); a student's has labels, teacher and sampling in it."""


def summary(table: pd.DataFrame) -> str:
    """Tables and sentences about all runs, in Markdown.

    Args:
        table: that of results.csv.
    """
    needed = ["epochs", "training_s", FORCES]  # which runs that failed have not
    table = table.reindex(columns=list(dict.fromkeys([*table, *needed])))
    table["length"] = table["budget_s"].fillna(table["epochs"])
    done = table[table["status"] == "done"]
    parts = [f"# Accuracy benchmark: {', '.join(table['dataset'].unique())}"]
    parts += [EXPLANATION] if len(done) else []
    for (test, host, size), group in done.groupby(["test", "host", "train_size"], sort=False):
        parts += _place(group, f"{host}, {size} frames, judged on {test}")
    missed = list(_missed(done))
    if missed:
        parts += [f"## Trainings that missed their time by more than {100 * MISSED:.0f} %"]
        parts += ["\n".join(dict.fromkeys(missed))]
    failed = table[table["status"] != "done"]
    if len(failed):
        parts.append("## Failed runs")
        parts += [f"- {_name(row)}: {row['reason']}" for _, row in failed.iterrows()]
    return "\n\n".join(parts) + "\n"


def _place(group: pd.DataFrame, title: str) -> Iterator[str]:
    """Table and convergence of one host, size and set of test frames."""
    lengths = sorted(group["length"].unique())
    unit = "epochs" if group["budget_s"].isna().all() else "s"
    last = group[group["length"] == lengths[-1]]
    baseline = _baseline(last)
    named = f"baseline: {baseline}" if baseline else "no baseline was run"
    yield f"## {title}, {lengths[-1]:g} {unit} of training ({named})"
    plain = last[last["method"] == baseline]
    time = "cpu_s" if (last["device"] == "cpu").all() else "wall_clock_s"
    head = "| method | seeds | forces (meV/Å) | ratio | energy (meV) | ratio | slope | time (s) "
    lines = [head + "| in short |", "| --- " * 9 + "|"]
    for method, own in last.groupby("method", sort=False):
        forces, energies = ratios(own, plain, FORCES), ratios(own, plain, ENERGIES)
        short = f"forces: {verdict(forces)}; energies: {verdict(energies)}"
        if len(plain) and own["forces"].iloc[0] != plain["forces"].iloc[0]:
            short = f"more labels; {short}"
        cells = [own["title"].iloc[0] or str(method), str(len(own)), _spread(own[FORCES], 0)]
        cells += [_ratio(forces), _spread(own[ENERGIES], 1), _ratio(energies)]
        cells += [_spread(own["slope"], 3), _spread(own[time], 0)]
        cells.append("baseline" if method == baseline else short)
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines)
    if len(lengths) < 2:
        yield "Convergence is not known: there is one length of training only (add half and twice)."
    else:
        yield from _convergence(group, lengths[-2], lengths[-1], unit)


def _baseline(rows: pd.DataFrame) -> str | None:
    """The plain training with the lower error in forces, or in energies where there are none."""
    plain = rows[rows["baseline"].astype(bool)]
    if plain.empty:
        return None
    errors = plain[FORCES].fillna(plain[ENERGIES]).groupby(plain["method"]).mean()
    return str(errors.idxmin())


def ratios(own: pd.DataFrame, plain: pd.DataFrame, error: str) -> pd.Series:
    """Ratios of a method's errors to the baseline's, seed by seed.

    Args:
        own: the method's rows.
        plain: the baseline's.
        error: name of the error's column.
    """
    beside = plain.set_index("seed")[error].astype(float)
    return (own.set_index("seed")[error].astype(float) / beside).dropna()


def verdict(found: pd.Series) -> str:
    """Whether ratios of errors differ from 1 by more than they differ from each other."""
    if len(found) < 2:
        return "one seed, no verdict" if len(found) else "no baseline"
    logs = np.log(found)
    if abs(logs.mean()) <= logs.std():
        return "within spread"
    return "helps" if logs.mean() < 0.0 else "does harm"


def _convergence(group: pd.DataFrame, before: float, after: float, unit: str) -> Iterator[str]:
    lines, warnings = [], []
    for method, own in group.groupby("method", sort=False):
        new, old = (own[own["length"] == length] for length in (after, before))
        told = []
        for name, error in (("validation", VALIDATION), ("forces", FORCES)):
            found = ratios(new, old, error)
            if not len(found):
                continue
            change = float(np.exp(np.log(found).mean())) - 1.0
            told.append(f"{name} {100 * change:+.0f} %")
            if name == "validation" and own["baseline"].all() and abs(change) > CONVERGED:
                warnings.append(
                    f"**{method} has not converged**: its validation error still changed by "
                    f"{100 * change:+.0f} %, so that whatever learns faster looks better than it "
                    "is. Train longer (--budgets)."
                )
        lines += [f"{method}: {', '.join(told)}"] if told else []
    yield f"From {before:g} to {after:g} {unit}, errors changed by: {'; '.join(lines)}."
    yield from warnings


def _missed(rows: pd.DataFrame) -> Iterator[str]:
    """Trainings that missed their time by much."""
    for _, row in rows.dropna(subset=["budget_s", "training_s"]).iterrows():
        used = row["training_cpu_s" if row["device"] == "cpu" else "training_s"]
        if abs(used / row["budget_s"] - 1.0) > MISSED:
            yield f"- {_name(row)}: {used:.0f} s of {row['budget_s']:g}"


def _name(row: pd.Series) -> str:
    return f"{row['host']}, {row['method']}, {row['train_size']} frames, seed {row['seed']}"


def _ratio(found: pd.Series) -> str:
    if not len(found):
        return "–"
    deviation = f" ± {found.std():.2f}" if len(found) > 1 else ""
    return f"{np.exp(np.log(found).mean()):.2f}{deviation}"


def _spread(values: pd.Series, digits: int) -> str:
    values = values.dropna().astype(float)
    if values.empty:
        return "–"
    deviation = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"
