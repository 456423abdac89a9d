"""A character-level language model: a perceptron over a window of characters, with its derivative written out."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Parameters = dict[str, Floats]

_SCORED_AT_ONCE = 2048  # rows of a forward pass without gradients; bounds its memory


class CharModel:
    """Predicts the next symbol from the `context` symbols before it.

    After Bengio et al., "A Neural Probabilistic Language Model" (JMLR 2003): the window's embeddings side by side, then
    here two hidden layers, the second one residual, with squared ReLU (So et al., "Primer", 2021), then a softmax.
    Losses are means over the rows, in nats.
    """

    def __init__(
        self,
        *,
        symbols: int,
        context: int,
        embedding: int,
        hidden: int,
        dropout: float = 0.0,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        """Draw the first parameters from `rng`. `dropout` is the share of the last hidden layer that training hides."""
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
        self.context = context
        self.dropout = dropout

        def normal(rows: int, columns: int, scale: float) -> Floats:
            return (scale * rng.standard_normal((rows, columns))).astype(dtype)

        window = context * embedding
        self.parameters: Parameters = {
            "embedding": normal(symbols, embedding, 1.0),
            "w1": normal(window, hidden, 1 / math.sqrt(window)),
            "b1": np.zeros(hidden, dtype),
            "w2": normal(hidden, hidden, 1 / math.sqrt(hidden)),
            "b2": np.zeros(hidden, dtype),
            # Small, so that the first prediction is nearly uniform and the loss starts at log(symbols).
            "w3": normal(hidden, symbols, 0.01),
            "b3": np.zeros(symbols, dtype),
        }

    @property
    def size(self) -> int:
        """How many numbers are learnt."""
        return sum(p.size for p in self.parameters.values())

    def logits(self, contexts: Ints) -> Floats:
        """Unnormalised log-probabilities, (rows, symbols), of what follows each row of `contexts`, (rows, context)."""
        p = self.parameters
        window = p["embedding"][contexts].reshape(len(contexts), -1)
        h1 = np.maximum(window @ p["w1"] + p["b1"], 0) ** 2
        h2 = h1 + np.maximum(h1 @ p["w2"] + p["b2"], 0) ** 2
        result: Floats = h2 @ p["w3"] + p["b3"]
        return result

    def loss(self, contexts: Ints, targets: Ints) -> float:
        """Mean cross entropy of `targets`, (rows,), without dropout. Any number of rows."""
        total = 0.0
        for start in range(0, len(targets), _SCORED_AT_ONCE):
            rows = slice(start, start + _SCORED_AT_ONCE)
            _, losses = _softmax(self.logits(contexts[rows]), targets[rows])
            total += float(losses.sum(dtype=np.float64))
        return total / len(targets)

    def loss_and_gradients(self, contexts: Ints, targets: Ints, rng: np.random.Generator) -> tuple[float, Parameters]:
        """Mean cross entropy with dropout drawn from `rng`, and its derivative by each of the parameters."""
        p = self.parameters
        rows = len(targets)

        window = p["embedding"][contexts].reshape(rows, -1)
        r1 = np.maximum(window @ p["w1"] + p["b1"], 0)
        h1 = r1 * r1
        r2 = np.maximum(h1 @ p["w2"] + p["b2"], 0)
        mask = self._dropout_mask(h1.shape, rng)
        h2 = (h1 + r2 * r2) * mask
        probabilities, losses = _softmax(h2 @ p["w3"] + p["b3"], targets)

        d_logits = probabilities
        d_logits[np.arange(rows), targets] -= 1
        d_logits /= rows
        d_h2 = (d_logits @ p["w3"].T) * mask
        d_a2 = d_h2 * (2 * r2)
        d_h1 = d_h2 + d_a2 @ p["w2"].T
        d_a1 = d_h1 * (2 * r1)
        d_window = d_a1 @ p["w1"].T
        gradients: Parameters = {
            "embedding": _sum_by_symbol(contexts, d_window, p["embedding"]),
            "w1": window.T @ d_a1,
            "b1": d_a1.sum(axis=0),
            "w2": h1.T @ d_a2,
            "b2": d_a2.sum(axis=0),
            "w3": h2.T @ d_logits,
            "b3": d_logits.sum(axis=0),
        }
        return float(losses.mean(dtype=np.float64)), gradients

    def sample(self, prompt: Ints, length: int, rng: np.random.Generator, *, temperature: float = 0.7) -> Ints:
        """`prompt` and `length` symbols more, each drawn given those before it. A low temperature plays safe."""
        # What stands before the prompt is symbol 0, as many times as the window needs.
        symbols = np.concatenate([np.zeros(self.context, np.uint8), prompt, np.zeros(length, np.uint8)])
        for i in range(self.context + len(prompt), len(symbols)):
            logits = self.logits(symbols[None, i - self.context : i])[0] / temperature
            weights = np.exp((logits - logits.max()).astype(np.float64))
            symbols[i] = rng.choice(len(weights), p=weights / weights.sum())
        return symbols[self.context :]

    def _dropout_mask(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        dtype = self.parameters["w2"].dtype
        if self.dropout == 0:
            return np.ones(shape, dtype)
        # Scaled up here, so that nothing needs scaling down when nothing is hidden.
        return (rng.random(shape, dtype=np.float32) >= self.dropout).astype(dtype) / dtype.type(1 - self.dropout)


def windows(symbols: Ints, context: int) -> tuple[Ints, Ints]:
    """Every window of `context` symbols and the symbol after each: views, (n, context) and (n,), no copy."""
    if len(symbols) <= context:
        raise ValueError(f"{len(symbols)} symbols are too few for a context of {context}")
    view = np.lib.stride_tricks.sliding_window_view(symbols, context + 1)
    return view[:, :-1], view[:, -1]


def _softmax(logits: Floats, targets: Ints) -> tuple[Floats, Floats]:
    """Probabilities of all symbols, (rows, symbols), and the cross entropy of the target, (rows,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1)
    return exponentials / sums[:, None], np.log(sums) - shifted[np.arange(len(targets)), targets]


def _sum_by_symbol(contexts: Ints, d_window: Floats, embedding: Floats) -> Floats:
    """The embedding's gradient: for each symbol the sum over all places where it stands in `contexts`."""
    # Sort and add up runs: several times faster than np.add.at on rows.
    symbols = contexts.reshape(-1)
    order = np.argsort(symbols, kind="stable")
    ordered = symbols[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    result = np.zeros_like(embedding)
    result[ordered[starts]] = np.add.reduceat(d_window.reshape(-1, embedding.shape[1])[order], starts, axis=0)
    return result
