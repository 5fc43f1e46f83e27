"""The network of a member: encoder, policy head and value head, built from its genome."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from evo_core.genome.genome import Genome
from evo_core.networks.distributions import make_distribution
from evo_core.networks.encoders import build_encoder
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import Axis, Stack, chain
from evo_core.spaces.observations import ObservationLayout
from evo_core.spaces.spaces import Spaces


class ActorCritic(nn.Module):
    """π(a|s) and V(s) over a shared encoder, or over one encoder each.

    A recurrent network remembers [N, memory_size] numbers per environment, those of the critic's encoder last; for
    all others memory_size is 0.
    """

    def __init__(self, genome: Genome, spaces: Spaces, action_std_init: float = 1.0) -> None:
        super().__init__()
        architecture, activation = genome.architecture, genome.activation
        self.layout = ObservationLayout(spaces.observation)

        def build(name: str) -> tuple[Encoder, Axis]:
            latent = Axis(f"{name}.latent", architecture.latent_dim)
            return build_encoder(architecture.encoder, name, self.layout.leaves, latent, activation), latent

        self.distribution = make_distribution(
            spaces.action, squash=architecture.squash_output, std_init=action_std_init
        )
        actions = Axis("action", self.distribution.outputs)
        self.encoder, latent = build("encoder")
        self.actor = Stack("actor_head", latent, architecture.actor_head, actions, activation, 0.01)
        self.critic_encoder: Encoder | None = None
        if not architecture.share_encoder:
            self.critic_encoder, latent = build("critic_encoder")
        self.critic = Stack("critic_head", latent, architecture.critic_head, Axis("value", 1), activation, 1.0)
        self.memory_size = self.encoder.memory_size * (1 if self.critic_encoder is None else 2)

    @property
    def max_seq_len(self) -> int:
        """Steps at which backpropagation through time is cut; 1 without a memory."""
        return self.encoder.max_seq_len

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Tensor]:
        """Compute the distribution's parameters [N, A] and the values [N] of N steps.

        A recurrent network needs the layout of the sequences.
        """
        if sequences is None or self.critic_encoder is None:
            features = self.encoder(observations, sequences)
            critic_features = features if self.critic_encoder is None else self.critic_encoder(observations)
        else:
            own, critics = sequences.split(self.encoder.memory_size)
            features, critic_features = self.encoder(observations, own), self.critic_encoder(observations, critics)
        return self.actor(features), self.critic(critic_features).squeeze(-1)

    def vjp(
        self, observations: Tensors, sequences: Sequences | None = None
    ) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], None]]:
        """Compute what `forward` does, and return the backward function too.

        It takes the gradients by the distribution's parameters [N, A] and by the values [N], and writes those by the
        network's weights to their `grad`; call it once, with `grad` zero.
        """
        own, critics = sequences, None
        if sequences is not None and self.critic_encoder is not None:
            own, critics = sequences.split(self.encoder.memory_size)
        features, encoder_backward = self.encoder.vjp(observations, own)
        outputs, actor_backward = self.actor.vjp(features)
        if self.critic_encoder is None:
            values, critic_backward = self.critic.vjp(features)
        else:
            critic_features, critic_encoder_backward = self.critic_encoder.vjp(observations, critics)
            values, critic_head_backward = self.critic.vjp(critic_features)
            critic_backward = chain([critic_encoder_backward, critic_head_backward])

        def backward(by_outputs: Tensor, by_values: Tensor) -> None:
            by_features, by_critic_features = actor_backward(by_outputs), critic_backward(by_values.unsqueeze(-1))
            encoder_backward(by_features if self.critic_encoder is not None else by_features + by_critic_features)

        return outputs, values.squeeze(-1), backward

    def policy(self, observations: Tensors, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the distribution's parameters [N, A] of one step, and the memory after it, [N, memory_size]."""
        if not self.memory_size:
            return self.actor.forward(self.encoder.forward(observations)), memory
        if self.critic_encoder is None:
            latent, memory = self.encoder.step(observations, memory)
            return self.actor.forward(latent), memory
        own, critics = torch.split(memory, [self.encoder.memory_size] * 2, 1)
        latent, own = self.encoder.step(observations, own)
        critics = self.critic_encoder.step(observations, critics)[1]
        return self.actor(latent), torch.cat([own, critics], 1)

    def value(self, observations: Tensors, memory: Tensor) -> Tensor:
        """Compute the values of one step, [N]."""
        encoder, before = self.encoder, memory[:, : self.encoder.memory_size]
        if self.critic_encoder is not None:
            encoder, before = self.critic_encoder, memory[:, self.encoder.memory_size :]
        values: Tensor = self.critic(encoder.step(observations, before)[0]).squeeze(-1)
        return values
