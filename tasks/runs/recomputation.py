"""Recompute members of a run: the same configuration and seed give the same bytes."""

from dataclasses import dataclass

import torch

from evo_core.config.run_config import RunConfig
from evo_core.records.chain import BlobRef, Member, Offspring, Training
from evo_core.spaces.spaces import Spaces
from evo_core.training import evaluate_member, train
from tasks.runs.run_store import RunStore
from tasks.store import CorruptError, MissingError


@dataclass(frozen=True, slots=True)
class Recomputer:
    """Recomputes members of a run in this process, without writing anything."""

    run: RunStore
    config: RunConfig
    spaces: Spaces
    device: torch.device | str = "cpu"

    def train(self, offspring: Offspring) -> tuple[bytes | None, Training]:
        """Train an offspring again; recompute its parent's weights if they are gone."""
        parent = offspring.parent_blob
        weights = self.weights(offspring.parent, parent) if parent is not None and offspring.parent else None
        return train(self.config, offspring, weights, self.spaces, self.device)

    def member(self, offspring: Offspring) -> tuple[bytes | None, Member]:
        """Train and evaluate an offspring again."""
        content, training = self.train(offspring)
        return content, evaluate_member(self.config, offspring, training, content, self.spaces, self.device)

    def weights(self, uid: str, reference: BlobRef) -> bytes:
        """Read a member's checkpoint, or recompute it from the nearest ancestor whose checkpoint is intact.

        Raise CorruptError if the recomputed bytes differ: then library versions, CPU or device differ.
        """
        line: list[tuple[Offspring, BlobRef]] = []
        content: bytes | None = None
        while (content := self._stored(reference)) is None:
            offspring = self.run.offspring(uid)
            line.append((offspring, reference))
            if offspring.parent is None or offspring.parent_blob is None:
                break
            uid, reference = offspring.parent, offspring.parent_blob
        for offspring, expected in reversed(line):
            content, training = train(self.config, offspring, content, self.spaces, self.device)
            if training.blob != expected or content is None:
                raise CorruptError(
                    f"{offspring.uid}: expected a checkpoint with sha256 {expected.sha256}, computed one with "
                    f"{training.blob.sha256 if training.blob else None}; compute it under the versions, CPU "
                    "instructions and device that its COMMIT's `numerics` name"
                )
        assert content is not None
        return content

    def _stored(self, reference: BlobRef) -> bytes | None:
        try:
            return self.run.blob(reference)
        except CorruptError:
            return None
        except MissingError:
            self.run.require_in_place()  # avoid hours of work for a store that is gone
            return None
