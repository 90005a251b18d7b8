"""[tokenizer]: the subword vocabulary."""

from typing import Annotated, Literal

from pydantic import Field

from transformer.config.section import BY_CONTENT, FIXED, Count, Section, UserPath


class Tokenizer(Section):
    """SentencePiece: trained on the corpus, or read from files."""

    models: Annotated[tuple[UserPath, ...], BY_CONTENT] = ()
    """SentencePiece models to use: one for both sides, or source and target; none: train on the corpus"""
    kind: Annotated[Literal["unigram", "bpe"], FIXED] = "unigram"
    """the subword algorithm"""
    vocab_size: Annotated[int, Field(ge=16, le=1 << 20), FIXED] = 16000
    """pieces per model, including four symbols: padding, start, end, unknown"""
    shared: Annotated[bool, FIXED] = True
    """true: the same pieces for both sides; false: others for each side"""
    byte_fallback: Annotated[bool, FIXED] = True
    """encode characters without a piece as bytes, so that no token is unknown (takes 256 pieces)"""
    character_coverage: Annotated[float, Field(ge=0.98, le=1), FIXED] = 0.9995
    """fraction of the characters of the corpus that get a piece of their own"""
    normalization: Annotated[Literal["nfc", "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"], FIXED] = "nfc"
    """what is replaced in text; nfc: characters are composed, and in the source, spaces become plain and invisible
    characters without meaning are removed; the others are SentencePiece's, for both sides (cf: case folded), and
    nmt_nfkc, nfkc and cf also change the translations: ½ becomes 1⁄2, full-width commas become plain"""
    train_lines: Annotated[Count, FIXED] = 2_000_000
    """largest number of lines per side that train the tokenizer, spread evenly over the corpus"""
