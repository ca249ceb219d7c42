"""Which frames of a file are taken."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import LABELS, Block
from piwsl_plugins.data.composition import formula as formula_of
from piwsl_plugins.data.composition import hill
from piwsl_plugins.data.progress import watched
from piwsl_plugins.data.readers.base import DataError, Source
from piwsl_plugins.fields import unknown_name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a frame must be; of these frames, every k-th; of those, the first or random ones.

    Attributes:
        elements: symbols; frames of these elements alone.
        formulas: frames of one of these chemical formulas, in Hill's order.
        max_atoms: frames of at most so many atoms.
        labels: frames that have all of these labels.
        every: every k-th frame, the first one included.
        first: at most so many frames, from the start.
        random: so many random frames, in the file's order.
        seed: of the random frames.

    Raises:
        DataError: an unknown element, label or formula, or a number that is not positive.
    """

    elements: tuple[str, ...] = ()
    formulas: tuple[str, ...] = ()
    max_atoms: int | None = None
    labels: tuple[str, ...] = ()
    every: int = 1
    first: int | None = None
    random: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for symbol in self.elements:
            if atomic_numbers.get(symbol, 0) < 1:
                raise DataError(f"--elements: {symbol!r} is no element; write symbols, e.g. C H O")
        for label in self.labels:
            if label not in LABELS:
                raise DataError(f"--with: {unknown_name(label, LABELS, 'label')}")
        for name in ("max_atoms", "every", "first", "random"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = name.replace("_", "-")
                raise DataError(f"--{option}: got {value}, expected a whole number from 1 on")
        if self.first and self.random:
            raise DataError("--first and --random are two ways to take fewer frames; choose one")
        formulas = tuple(_normal_formula(text) for text in self.formulas)
        object.__setattr__(self, "formulas", formulas)


class Selected:
    """The selected frames of a file, as often as they are asked for.

    Args:
        source: the file.
        selection: what is taken.
    """

    def __init__(self, source: Source, selection: Selection) -> None:
        self.source = source
        self.selection = selection
        self.refused: Counter[str] = Counter()
        self._ordinals: NDArray[np.int64] | None = None

    def blocks(self, what: str) -> Iterator[Block]:
        """The frames, in the file's order.

        Args:
            what: what is done with them, for the progress.

        Raises:
            DataError: there are none, or fewer than ``random``.
        """
        if self.selection.random is not None and self._ordinals is None:
            self._ordinals = self._draw(self.selection.random)
        taken = 0
        for block in self._every(f"{what}, {self.source.path.name}"):
            chosen, start = block, self._seen - len(block)
            if self._ordinals is not None:
                inside = slice(*np.searchsorted(self._ordinals, [start, self._seen]))
                chosen = block.take(self._ordinals[inside] - start)
            elif self.selection.first is not None:
                chosen = block.take(slice(self.selection.first - taken))
            taken += len(chosen)
            if len(chosen):
                yield chosen
            if taken == self.selection.first:
                return
        if taken == 0:
            self._refuse()

    def _draw(self, number: int) -> NDArray[np.int64]:
        """Draw random frames among those that fit."""
        for _ in self._every(f"counting frames, {self.source.path.name}"):
            pass
        if self._seen == 0:
            self._refuse()
        if number > self._seen:
            raise DataError(
                f"{self.source.path}: --random {number} asks for more frames than the "
                f"{self._seen} that fit"
            )
        random = np.random.default_rng([self.selection.seed, 0])
        return np.sort(random.choice(self._seen, number, replace=False))

    def _every(self, what: str) -> Iterator[Block]:
        """Frames that fit, and of these every k-th; counts them in ``_seen``."""
        self._seen, fitting, every = 0, 0, self.selection.every
        self.refused.clear()
        for block in watched(self.source.blocks(), what, len(self.source)):
            fits = block.take(self._fits(block))
            kept = fits.take(slice(-fitting % every, None, every))
            fitting += len(fits)
            self._seen += len(kept)
            if len(kept):
                yield kept

    def _fits(self, block: Block) -> NDArray[np.bool_]:
        selection = self.selection
        reason = ""
        if selection.elements:
            allowed = [atomic_numbers[symbol] for symbol in selection.elements]
            if not np.isin(block.numbers, allowed).all():
                reason = f"other elements than {', '.join(selection.elements)}"
        if selection.formulas and formula_of(block.numbers) not in selection.formulas:
            reason = reason or f"another formula than {', '.join(selection.formulas)}"
        if selection.max_atoms and len(block.numbers) > selection.max_atoms:
            reason = reason or f"more than {selection.max_atoms} atoms"
        if reason:
            self.refused[reason] += len(block)
            return np.zeros(len(block), dtype=bool)
        fits = np.ones(len(block), dtype=bool)
        for label in selection.labels:
            has = block.has(label)
            self.refused[f"no {label.replace('_', ' ')}"] += int((fits & ~has).sum())
            fits &= has
        return fits

    def _refuse(self) -> None:
        reasons = "; ".join(f"{n} have {reason}" for reason, n in self.refused.items() if n)
        hint = ""
        if self.selection.labels:
            keys = ", ".join(f"{key} ({n})" for key, n in sorted(self.source.keys.items()))
            options = ", ".join(
                f"--{label.replace('_', '-')}-key" for label in self.selection.labels
            )
            hint = (
                f". Numbers in the file, and the frames that have them: {keys or 'none'}; name a "
                f"label's with {options}"
            )
        raise DataError(
            f"{self.source.path}: none of its {len(self.source)} frames is selected: "
            f"{reasons}{hint}"
        )


def _normal_formula(text: str) -> str:
    try:
        counts = Formula(text, strict=True).count()
    except ValueError:
        counts = {}
    if not counts or any(symbol not in atomic_numbers for symbol in counts):
        raise DataError(f"--formula: {text!r} is no chemical formula; write e.g. C2H6O or CH3OH")
    return hill(counts)
