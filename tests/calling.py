"""A command in this process, for tests, and the config of a small run as a file."""

import io
import re
import sys

import pytest

from transformer.cli import main as door
from translating import Result

# Corpus, model and optimizer are those of runs.SMALL, so that all small runs share the program of an update.
CONFIG = """
run_dir = "{run}"
[data]
source = "en"
target = "de"
train = ["builtin:clauses:train:300"]
valid = ["builtin:clauses:valid:20"]
buckets = 1
[tokenizer]
vocab_size = 400
[model]
d_model = 16
d_ff = 32
num_heads = 2
encoder_layers = 1
decoder_layers = 1
dropout = 0.1
[train]
steps = 4
batch_tokens = 512
learning_rate = 1e-2
warmup_steps = 10
log_every = 1
eval_every = 2
save_every = 2
[decode]
beam_size = 2
max_ratio = 0.5
max_extra = 4
batch_tokens = 128
"""


class Caller:
    """Runs a command in this process."""

    def __init__(self, capture: pytest.CaptureFixture[bytes], patch: pytest.MonkeyPatch):
        self.capture, self.patch = capture, patch

    def __call__(self, *words: object, stdin: bytes = b"") -> Result:
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.capture.readouterr()
        code = door.main([str(word) for word in words])
        out, err = self.capture.readouterr()
        return Result(code, out, err.decode())

    def fails(self, code: int, *words: object, stdin: bytes = b"") -> str:
        """The line that this failure gives; nothing goes to stdout."""
        result = self(*words, stdin=stdin)
        assert (result.code, result.out) == (code, b"")
        assert re.fullmatch(r"error: [^\n]+\n", result.err)
        return result.err
