"""The network of a member: encoder, policy head and value head, as its genome says."""

from dataclasses import dataclass
from typing import Any

from gymnasium import Space
from torch import Tensor, nn

from evo_core.genome import Genome
from evo_core.networks.distributions import distribution_for
from evo_core.networks.stack import Axis, Stack


@dataclass(frozen=True, slots=True)
class Spaces:
    """What one environment (not a vector of them) observes and accepts."""

    observation: Space[Any]
    action: Space[Any]


class ActorCritic(nn.Module):
    """π(a|s) and V(s) over a shared encoder, or over one encoder each."""

    def __init__(self, genome: Genome, spaces: Spaces, action_std_init: float = 1.0) -> None:
        super().__init__()
        architecture, activation = genome.architecture, genome.activation

        def build(name: str) -> tuple[nn.Module, Axis]:
            latent = Axis(f"{name}.latent", architecture.latent_dim)
            return architecture.encoder.build(name, spaces.observation, latent, activation), latent

        self.distribution = distribution_for(spaces.action)(spaces.action, action_std_init)
        actions = Axis("action", self.distribution.outputs)
        self.encoder, latent = build("encoder")
        self.actor = Stack("actor_head", latent, architecture.actor_head, actions, activation, 0.01)
        self.critic_encoder = None
        if not architecture.share_encoder:
            self.critic_encoder, latent = build("critic_encoder")
        self.critic = Stack("critic_head", latent, architecture.critic_head, Axis("value", 1), activation, 1.0)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the distribution's parameters [N, A] and the values [N]."""
        features = self.encoder(observations)
        critic_features = features if self.critic_encoder is None else self.critic_encoder(observations)
        return self.actor(features), self.critic(critic_features).squeeze(-1)

    def policy(self, observations: Tensor) -> Tensor:
        """Compute the distribution's parameters alone, [N, A]."""
        outputs: Tensor = self.actor(self.encoder(observations))
        return outputs

    def value(self, observations: Tensor) -> Tensor:
        """Compute the values alone, [N]."""
        encoder = self.encoder if self.critic_encoder is None else self.critic_encoder
        values: Tensor = self.critic(encoder(observations)).squeeze(-1)
        return values
