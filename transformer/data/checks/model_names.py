"""Removes the names of files that SentencePiece has recorded in a model."""

from sentencepiece.sentencepiece_model_pb2 import ModelProto


def without_names(model_bytes: bytes) -> bytes:
    """The model without the file names in SentencePiece's record of its training; the same bytes if there are none."""
    model = ModelProto.FromString(model_bytes)
    before = model.ByteSize()
    for field in ("input", "model_prefix", "seed_sentencepieces_file"):
        model.trainer_spec.ClearField(field)
    return model_bytes if model.ByteSize() == before else model.SerializeToString(deterministic=True)
