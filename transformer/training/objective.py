"""The training objective: label smoothing as a Kullback-Leibler divergence."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Losses:
    """Sums over the target tokens of a batch, in nats."""

    kl: Array  # divergence of the model from the smoothed target, which training minimizes
    nll: Array  # -log probability of the tokens: exp(nll / tokens) is the perplexity
    tokens: Array  # number of tokens


def smoothed_loss(logits_BTV: Array, labels_BT: Array, is_token_BT: Array, smoothing: float) -> Losses:
    """Computes KL(q || p) for q = (1 - e) one-hot(label) + e uniform(V), p = softmax(logits) and e = `smoothing`.

    Szegedy et al. 2016, section 7, minimize the cross-entropy H(q, p); the divergence KL(q || p) = H(q, p) - H(q) has
    the same gradient, and is zero exactly when p = q. Because q is uniform except for one label, H(q, p) is computed
    without q and log p:

        H(q, p) = log sum exp(z) - (1 - e) z[label] - e mean(z)         for logits z
    """
    log_sum_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    label_logit_BT = jnp.take_along_axis(logits_BTV, labels_BT[..., None], axis=-1)[..., 0]
    cross_entropy_BT = log_sum_BT - (1 - smoothing) * label_logit_BT
    if smoothing:
        cross_entropy_BT -= smoothing * logits_BTV.mean(axis=-1)
    kl_BT = cross_entropy_BT - smoothed_entropy(logits_BTV.shape[-1], smoothing)
    return Losses(
        kl=jnp.where(is_token_BT, kl_BT, 0).sum(),
        nll=jnp.where(is_token_BT, log_sum_BT - label_logit_BT, 0).sum(),
        tokens=is_token_BT.sum().astype(jnp.float32),
    )


def smoothed_entropy(vocabulary: int, smoothing: float) -> float:
    """Returns the entropy H(q) of the smoothed target, in nats: the smallest possible cross-entropy H(q, p)."""
    rest = smoothing / vocabulary
    label = 1 - smoothing + rest
    return -label * math.log(label) - ((vocabulary - 1) * rest * math.log(rest) if rest else 0)
