"""Redraw one hyperparameter from its whole range."""

import numpy as np

from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.genome.genome import Genome


class Resample:
    """Replace one gene by a new draw, as one of the two ways to explore in population-based training (Jaderberg et al.
    2017, "Population Based Training of Neural Networks", section 4.1.1).
    """

    def mutate(self, genome: Genome, config: RunConfig, rng: np.random.Generator) -> Genome:
        """Draw a gene, and its position in its range."""
        if not config.search:
            return genome
        name = sorted(config.search)[rng.integers(len(config.search))]
        integer = evolvable_hyperparameters()[name] is int
        value = config.search[name].at(rng.random(), integer=integer)
        return genome.model_copy(update={"hyperparameters": {**genome.hyperparameters, name: value}})
