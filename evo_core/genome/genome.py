"""The genome: hyperparameters, architecture and activation. With the environment's spaces it defines a network."""

from typing import Annotated, Any

from gymnasium import Space
from pydantic import BeforeValidator, SerializeAsAny

from evo_core.config.genes import Number
from evo_core.config.network import Activation
from evo_core.config.run_config import RunConfig
from evo_core.config.sections import AlgorithmConfig
from evo_core.genome.architecture import Layers, Record, dense_layers, layer_sizes
from evo_core.genome.encoders import EncoderArchitecture, architecture_by_kind, initial_encoder
from evo_core.genome.given_sizes import Parts, given_parts
from evo_core.spaces.observations import ObservationLayout


class Architecture(Record):
    """Sizes of every part of a network. Growing appends to a part, shrinking removes its last layer."""

    encoder: Annotated[SerializeAsAny[EncoderArchitecture], BeforeValidator(architecture_by_kind)]
    latent_dim: int
    actor_head: Layers
    critic_head: Layers
    share_encoder: bool
    squash_output: bool


class Genome(Record):
    """The inherited, mutable part of a member. `hyperparameters` holds the genes; all others come from the
    configuration."""

    hyperparameters: dict[str, Number]
    architecture: Architecture
    activation: Activation


def initial_genome(config: RunConfig, observation_space: Space[Any]) -> Genome:
    """Create the genome of the configured hyperparameters and network; ValueError when they do not fit the space."""
    network = config.network
    encoder = initial_encoder(network, ObservationLayout(observation_space), recurrent=config.algorithm.recurrent)
    head = dense_layers(network.head.hidden_size)
    parts = Parts(encoder=encoder, latent_dim=network.latent_dim, actor_head=head, critic_head=head)
    if network.architecture is not None:
        parts = given_parts(network.architecture, encoder, network.bounds)
    return Genome(
        hyperparameters={name: getattr(config.algorithm, name) for name in sorted(config.search)},
        architecture=Architecture(
            encoder=parts.encoder,
            latent_dim=parts.latent_dim,
            actor_head=parts.actor_head,
            critic_head=parts.critic_head,
            share_encoder=network.share_encoder,
            squash_output=network.squash_output,
        ),
        activation=network.encoder.activation,
    )


def algorithm_of(genome: Genome, config: RunConfig) -> AlgorithmConfig:
    """Replace the configured hyperparameters by a genome's."""
    return config.algorithm.model_copy(update=genome.hyperparameters)


def sizes(genome: Genome) -> dict[str, int]:
    """Return the sizes of every part of a genome, under names that are the same for all genomes of a run."""
    architecture = genome.architecture
    return {
        **architecture.encoder.sizes("encoder"),
        **layer_sizes("actor_head", architecture.actor_head),
        **layer_sizes("critic_head", architecture.critic_head),
        "latent_dim": architecture.latent_dim,
    }
