"""Split rollouts into sequences that stay within an episode, and sequences into minibatches.

Without a memory, or at a length of one, every step is a piece of its own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evo_core.agent.devices import to_device
from evo_core.networks.inputs import Tensors
from evo_core.networks.recurrence import Sequences, sequences


@dataclass(frozen=True, slots=True)
class Pieces:
    """Index of the pieces of a rollout of T × B steps.

    `rows` [N]: every valid step exactly once, as t · B + b, piece behind piece; `lengths` [pieces].
    """

    rows: np.ndarray
    lengths: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """Place in `rows` where each piece begins, [pieces]."""
        starts: np.ndarray = np.cumsum(self.lengths) - self.lengths
        return starts


def cut(terminated: np.ndarray, truncated: np.ndarray, valid: np.ndarray, length: int) -> Pieces:
    """Cut a rollout, all [T, B], into pieces of at most `length` steps of one episode; ragged ends are kept."""
    steps, envs = valid.shape
    if length == 1:
        rows = np.flatnonzero(valid)
        return Pieces(rows, np.ones(len(rows), np.int64))
    ended = (terminated | truncated | ~valid).T.reshape(-1)  # environment behind environment
    ended[steps - 1 :: steps] = True
    first = np.concatenate([[True], ended[:-1]])
    place = np.arange(steps * envs)
    age = place - np.maximum.accumulate(np.where(first, place, 0))
    kept = valid.T.reshape(-1)
    begins = np.flatnonzero((age % length == 0)[kept])
    t, b = place[kept] % steps, place[kept] // steps
    return Pieces(t * envs + b, np.diff([*begins, int(kept.sum())]))


@dataclass(frozen=True, slots=True)
class Minibatch:
    """N transitions: observations per leaf [N, ...], actions [N] or [N, A], the rest [N].

    `masks` [N, outputs] are None when nothing is ever forbidden; `sequences` is the layout of recurrent sequences, None
    when all steps are independent.
    """

    observations: Tensors
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    values: Tensor
    masks: Tensor | None = None
    sequences: Sequences | None = None


def minibatches(
    data: Minibatch,
    pieces: Pieces,
    memories: Tensor,
    batch_size: int,
    rng: np.random.Generator | torch.Generator,
) -> Iterator[Minibatch]:
    """Shuffle the pieces, and split them into the fewest minibatches of at most `batch_size` steps, equal to within a
    piece.

    `data` and `memories` [pieces, M] are in the order of the pieces. A minibatch holds at least one piece, and as
    many as fit if all were as long as the longest. Where every step is a piece of its own, a generator of torch's
    keeps the order on its device; else the cuts, which the CPU makes, follow from it.
    """
    lengths = pieces.lengths
    count, longest = len(lengths), int(lengths.max())
    parts = math.ceil(count / max(1, batch_size // longest))
    if isinstance(rng, torch.Generator) and longest == 1 and not memories.shape[1]:
        rows, order, sizes = torch.randperm(count, generator=rng, device=rng.device), np.arange(count), lengths
    else:
        order = _permutation(count, rng)
        sizes = lengths[order]
        within = np.arange(len(data.returns)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = to_device(np.repeat(pieces.starts[order], sizes) + within, data.returns.device)
    steps = [int(part.sum()) for part in np.array_split(sizes, parts)]

    def shuffled(column: Tensor) -> Sequence[Tensor]:
        return torch.split(column.index_select(0, rows), steps)

    leaves = {name: shuffled(leaf) for name, leaf in data.observations.items()}
    columns = map(shuffled, (data.actions, data.log_probs, data.advantages, data.returns, data.values))
    masks = [None] * parts if data.masks is None else shuffled(data.masks)
    for i, (chosen, actions, log_probs, advantages, returns, values) in enumerate(
        zip(np.array_split(order, parts), *columns, strict=True)
    ):
        observations = {name: leaf[i] for name, leaf in leaves.items()}
        whole = None
        if memories.shape[1]:
            memory = memories.index_select(0, torch.from_numpy(chosen).to(memories.device))
            whole = sequences(lengths[chosen], memory)
        yield Minibatch(observations, actions, log_probs, advantages, returns, values, masks[i], whole)


def _permutation(count: int, rng: np.random.Generator | torch.Generator) -> np.ndarray:
    if isinstance(rng, np.random.Generator):
        return rng.permutation(count)
    drawn: np.ndarray = torch.randperm(count, generator=rng, device=rng.device).cpu().numpy()
    return drawn
