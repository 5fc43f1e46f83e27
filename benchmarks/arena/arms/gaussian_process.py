"""A Gaussian process over time and genes, as PB2 needs it; the repaired form of Ray Tune's."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

BOUNDS = ((np.log(0.05), np.log(5.0)), (np.log(1e-3), np.log(0.5)), (np.log(1e-2), np.log(2.0)))
"""Of the logarithms of length scale, forgetting and noise; targets have unit variance."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """The process given observations. times [N]; points [N, D]; weights [N]: inverse covariance times targets."""

    times: np.ndarray
    points: np.ndarray
    parameters: np.ndarray
    factor: tuple[np.ndarray, bool]
    weights: np.ndarray

    def predict(self, time: float, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and STANDARD DEVIATION (not the variance) of the latent function at points [M, D], both [M]."""
        across = kernel(self.times, self.points, np.full(len(points), time), points, self.parameters)
        explained = np.einsum("nm,nm->m", across, cho_solve(self.factor, across))
        return across.T @ self.weights, np.sqrt(np.clip(1.0 - explained, 1e-12, None))


def kernel(
    times: np.ndarray, points: np.ndarray, other_times: np.ndarray, others: np.ndarray, parameters: np.ndarray
) -> np.ndarray:
    """Return k = exp(-|x - x'|² / 2ℓ²) (1 - ω)^(|t - t'| / 2), [N, M] (Parker-Holder et al. 2020, equation 5)."""
    scale, forgetting = np.exp(parameters[:2])
    squares = ((points[:, None] - others[None]) ** 2).sum(-1)
    distances = np.abs(times[:, None] - other_times[None])
    covariance: np.ndarray = np.exp(-squares / (2 * scale**2)) * (1 - forgetting) ** (distances / 2)
    return covariance


def fit(times: np.ndarray, points: np.ndarray, targets: np.ndarray) -> Posterior:
    """Condition on observations, with length scale, forgetting and noise of the highest marginal likelihood."""

    def loss(parameters: np.ndarray) -> float:
        factor = _factor(times, points, parameters)
        half_log_determinant = np.log(np.diag(factor[0])).sum()
        return float(0.5 * targets @ cho_solve(factor, targets) + half_log_determinant)

    found = minimize(loss, np.log([0.5, 0.1, 0.3]), method="L-BFGS-B", bounds=BOUNDS)
    factor = _factor(times, points, found.x)
    return Posterior(times, points, found.x, factor, cho_solve(factor, targets))


def _factor(times: np.ndarray, points: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, bool]:
    covariance = kernel(times, points, times, points, parameters)
    noise = np.exp(2 * parameters[2]) + 1e-6
    factor: tuple[np.ndarray, bool] = cho_factor(covariance + noise * np.eye(len(times)), lower=True)
    return factor
