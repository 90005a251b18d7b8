"""[train]: the optimization, and how often the run validates and saves."""

from typing import Annotated, Literal

from pydantic import Field

from transformer.config.section import BY_CONTENT, CHANGES_RESULT, FIXED, HARMLESS, Count, Rate, Section, UserPath

Updates = Annotated[int, Field(ge=0, le=1 << 30)]  # the optimizer counts updates in 32 bits
BleuTokenizer = Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]
ALL, MEAN = "all", "mean"  # the rules of Train.best_corpus for several validation corpora


class Train(Section):
    """How the model is trained."""

    init_from: Annotated[UserPath, BY_CONTENT] = ""
    """model or run directory that gives the initial weights and the tokenizer, and also the languages, data.max_length,
    [model], [decode] and [about] if the config does not set them; "": none"""
    steps: Annotated[Updates, Field(ge=1), CHANGES_RESULT] = 100_000
    """optimizer updates"""
    batch_tokens: Annotated[Count, CHANGES_RESULT] = 25_000
    """largest number of target positions of one update, padding included, over all devices (but at least 8 rows)"""
    accumulate: Annotated[Count, CHANGES_RESULT] = 1
    """parts into which a batch is split, computed one after another to save memory; changes dropout and rounding, and
    the batches too unless devices x parts divides 8"""
    learning_rate: Annotated[float, Field(gt=0), CHANGES_RESULT] = 1e-3
    """peak of the learning rate"""
    schedule: Annotated[Literal["inverse_sqrt", "cosine", "constant"], CHANGES_RESULT] = "inverse_sqrt"
    """shape of the learning rate after the warm-up"""
    warmup_steps: Annotated[Updates, CHANGES_RESULT] = 4000
    """number of first updates, in which the learning rate grows linearly to its peak"""
    cooldown_steps: Annotated[Updates, CHANGES_RESULT] = 0
    """number of last updates, in which the learning rate is also multiplied by a factor that falls linearly from 1 to
    1 / cooldown_steps"""
    adam_b1: Annotated[Rate, CHANGES_RESULT] = 0.9
    """decay of Adam's mean of gradients"""
    adam_b2: Annotated[Rate, CHANGES_RESULT] = 0.98
    """decay of Adam's mean of squared gradients"""
    adam_epsilon: Annotated[float, Field(gt=0), CHANGES_RESULT] = 1e-9
    """added to the denominator in Adam"""
    weight_decay: Annotated[float, Field(ge=0), CHANGES_RESULT] = 0.0
    """decoupled weight decay (AdamW), on the matrices of linear layers and embeddings only"""
    clip_norm: Annotated[float, Field(ge=0), CHANGES_RESULT] = 1.0
    """largest global norm of a gradient; larger gradients are scaled down to it; 0: no clipping"""
    label_smoothing: Annotated[Rate, CHANGES_RESULT] = 0.1
    """part of the target probability that is spread evenly over the vocabulary"""
    ema_decay: Annotated[Rate, FIXED] = 0.999
    """decay of the moving average of the weights, which validation and the saved model use; 0: the current weights"""
    log_every: Annotated[Count, HARMLESS] = 50
    """number of updates between lines of the log"""
    eval_every: Annotated[Count, CHANGES_RESULT] = 1000
    """number of updates between validations"""
    save_every: Annotated[Count, HARMLESS] = 1000
    """number of updates between checkpoints; a checkpoint is also saved after each validation"""
    keep: Annotated[Count, HARMLESS] = 2
    """number of newest checkpoints that are kept, besides that of the best model"""
    best_metric: Annotated[Literal["bleu", "chrf", "nll"], CHANGES_RESULT] = "bleu"
    """metric that decides which model is the best"""
    bleu_tokenizer: Annotated[BleuTokenizer, CHANGES_RESULT] = "auto"
    """tokenizer of sacreBLEU for BLEU; auto: zh, ja-mecab or ko-mecab for Chinese, Japanese or Korean as the target,
    char for other languages without spaces between words, else 13a"""
    best_corpus: Annotated[UserPath, CHANGES_RESULT] = ALL
    """which corpus of data.valid decides which model is the best: "all" (their sentences together), "mean" (the mean of
    their scores), or one of them, written as in data.valid"""
    patience: Annotated[int, Field(ge=0), CHANGES_RESULT] = 0
    """number of consecutive validations without a better model after which training ends; 0: never"""
