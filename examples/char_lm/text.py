"""The training text: the language reference that Python carries for its own `help()`."""

import hashlib
import re
from dataclasses import dataclass
from pydoc_data.topics import topics

import numpy as np
import numpy.typing as npt

Symbols = npt.NDArray[np.uint8]

# Newline and printable ASCII. The alphabet is fixed, so a model does not depend on which characters happen to occur.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
_KNOWN = frozenset(ALPHABET)
_TYPOGRAPHY = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\t": "    "})

_RULE_OR_ROW = re.compile(r"[-+=*~^|]{4,}|\|.*\|")

# One stretch in ten is held out. Stretches, and not single paragraphs: a paragraph between two that were
# trained on would be too easy. And not the end of the text, which is about one topic alone.
_STRETCH_CHARS = 4000
_HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class Corpus:
    """The text as symbols (positions in `ALPHABET`), cut into a part to train on and a part that is only judged."""

    training: Symbols
    validation: Symbols
    digest: str  # of the whole text; two Python versions have different texts, whose figures do not compare


def encode(text: str) -> Symbols:
    """The symbols of `text`; characters outside the alphabet are left out."""
    codes = np.frombuffer("".join(c for c in text if c in _KNOWN).encode("ascii"), dtype=np.uint8)
    return np.where(codes == ord("\n"), 0, codes - 31).astype(np.uint8)


def decode(symbols: npt.NDArray[np.integer]) -> str:
    """The text of `symbols`."""
    return "".join(ALPHABET[s] for s in symbols)


def load() -> Corpus:
    """The topics of the running Python in sorted order. The same on every machine with the same Python release."""
    paragraphs = _paragraphs()
    parts: tuple[list[str], list[str]] = ([], [])
    for number, stretch in enumerate(_stretches(paragraphs)):
        is_held_out = number % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
        parts[is_held_out].append(stretch)
    training, validation = (encode("\n\n".join(part)) for part in parts)
    digest = hashlib.sha256(training.tobytes() + b"|" + validation.tobytes()).hexdigest()
    return Corpus(training, validation, digest)


def _paragraphs() -> list[str]:
    # Topics quote each other at length: a fifth of the text is there twice or more. A paragraph is kept where it
    # comes first, otherwise much of the held-out text would have been trained on.
    kept = dict.fromkeys(
        _prose(paragraph.translate(_TYPOGRAPHY)) for name in sorted(topics) for paragraph in topics[name].split("\n\n")
    )
    return [paragraph for paragraph in kept if paragraph]


def _prose(paragraph: str) -> str:
    """Without table rows and underlines: their runs of spaces and dashes are easy to guess and flatter the score."""
    lines = paragraph.strip("\n").split("\n")
    return "\n".join(line for line in lines if not _RULE_OR_ROW.fullmatch(line.strip()))


def _stretches(paragraphs: list[str]) -> list[str]:
    stretches: list[str] = []
    current: list[str] = []
    for paragraph in paragraphs:
        current.append(paragraph)
        if sum(map(len, current)) >= _STRETCH_CHARS:
            stretches.append("\n\n".join(current))
            current = []
    if current:
        stretches.append("\n\n".join(current))
    return stretches
