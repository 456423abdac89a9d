"""How far and where to step: the learning-rate schedule, gradient clipping, and AdamW."""

import math

import numpy as np
from model import Parameters

_FINAL_SHARE = 0.05  # of the peak learning rate, reached at the last step


def learning_rate(step: int, *, steps: int, peak: float, warmup: int) -> float:
    """The rate of `step` (from 0 to steps − 1): linear up to `peak` over `warmup` steps, then half a cosine down."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup + 1) / max(steps - warmup, 1)
    return peak * (_FINAL_SHARE + (1 - _FINAL_SHARE) * (1 + math.cos(math.pi * progress)) / 2)


def clip(gradients: Parameters, limit: float) -> float:
    """Scale `gradients` in place so that their common Euclidean norm is at most `limit`; the norm before that."""
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
    if norm > limit:
        for gradient in gradients.values():
            gradient *= limit / norm
    return norm


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); biases, being vectors, do not decay."""

    def __init__(self, parameters: Parameters, *, weight_decay: float, beta1: float = 0.9, beta2: float = 0.99) -> None:
        """Keep the moments of `parameters`, which each step changes in place."""
        self.parameters = parameters
        self.weight_decay = weight_decay
        self.beta1, self.beta2 = beta1, beta2
        self.steps = 0
        self._mean = {name: np.zeros_like(p) for name, p in parameters.items()}
        self._square = {name: np.zeros_like(p) for name, p in parameters.items()}

    def step(self, gradients: Parameters, lr: float) -> None:
        """Move every parameter once."""
        self.steps += 1
        bias1, bias2 = 1 - self.beta1**self.steps, 1 - self.beta2**self.steps
        for name, parameter in self.parameters.items():
            gradient, mean, square = gradients[name], self._mean[name], self._square[name]
            mean += (1 - self.beta1) * (gradient - mean)
            square += (1 - self.beta2) * (gradient * gradient - square)
            if parameter.ndim > 1:
                parameter *= 1 - lr * self.weight_decay
            parameter -= (lr / bias1) * mean / (np.sqrt(square / bias2) + 1e-8)
