"""The Transformer: causality, padding, `step` against `decode`, every setting and what it costs in parameters."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from transformer.config import Model
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer, compute_dtype

V, D, F, H, ENCODER, DECODER, POSITIONS = 19, 6, 11, 3, 3, 2, 13
DEFAULT = {
    "d_model": D, "d_ff": F, "num_heads": H, "encoder_layers": ENCODER, "decoder_layers": DECODER,
    "max_positions": POSITIONS, "compute_dtype": "float32",
}  # fmt: skip
SOURCE = jnp.array([[5, 6, 7, 8, 2], [9, 10, 2, -1, -1]])
TARGET = jnp.array([[1, 11, 12, 13], [1, 14, 15, 16]])


def settings(**changes: object) -> Model:
    return Model.model_validate(DEFAULT | changes)


def make(settings: Model, *, source: int = V, target: int = V) -> Transformer:
    """A model of random parameters, biases and norms too; NumPy draws them, since JAX would compile for seconds."""
    random = np.random.default_rng(1)
    model = jax.eval_shape(lambda rng: Transformer(settings, source, target, rng=rng), jax.random.key(0))
    values = {name: random.normal(0, 0.4, leaf.shape).astype(np.float32) for name, leaf in named(model).items()}
    return with_values(model, {name: value + name.endswith("norm.scale") for name, value in values.items()})


@jax.jit
def forward(model: Transformer, source: Array, target: Array, key: Array | None = None) -> Array:
    keys = (None, None) if key is None else jax.random.split(key)
    return model.decode(target, model.encode(source, rng=keys[0]), rng=keys[1])


@jax.jit
def gradients(model: Transformer, source: Array, target: Array) -> Transformer:
    return jax.grad(lambda model: jnp.square(forward(model, source, target)).mean())(model)


encode = jax.jit(Transformer.encode)
step = jax.jit(Transformer.step)


@pytest.fixture(scope="module")
def plain() -> Transformer:
    return make(settings())


def assert_close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_causality_by_gradient() -> None:
    """Each position has a token of its own; the scores after t depend on the tokens at 0 .. t, and on no other."""
    model = make(settings(tie_embeddings="none"))
    memory = encode(model, SOURCE[:1])
    values, direction = named(model), jax.random.normal(jax.random.key(1), (V,))

    def score_T(table: Array) -> Array:
        changed = with_values(model, values | {"target_embedding.table": table})
        return changed.decode(TARGET[:1], memory)[0] @ direction

    by_token_TV = np.abs(jax.jit(jax.jacrev(score_T))(values["target_embedding.table"])).max(axis=-1)
    seen = by_token_TV[:, TARGET[0]] > 0
    np.testing.assert_array_equal(seen, np.tril(np.ones_like(seen)))


def test_padding_changes_nothing(plain: Transformer) -> None:
    """Neither the memory nor the scores, whatever stands in the batch beside a sentence."""
    memory, logits = encode(plain, SOURCE), forward(plain, SOURCE, TARGET)
    longer = jnp.pad(SOURCE, ((0, 0), (0, 6)), constant_values=-1)
    states = encode(plain, longer).states[:, : SOURCE.shape[1]]
    is_token = np.asarray(SOURCE >= 0)
    assert_close(states[is_token], memory.states[is_token])
    longer_target = jnp.pad(TARGET, ((0, 0), (0, 3)), constant_values=-1)
    assert_close(forward(plain, longer, longer_target)[:, : TARGET.shape[1]], logits)
    assert_close(forward(plain, SOURCE[1:, :3], TARGET[1:]), logits[1:])


def test_order_counts(plain: Transformer) -> None:
    swapped = SOURCE[:, jnp.array([1, 0, 2, 3, 4])]
    for model in (plain, make(settings(positions="learned"))):
        assert np.abs(forward(model, SOURCE, TARGET) - forward(model, swapped, TARGET)).max() > 1e-3


@pytest.mark.parametrize(
    "changes", [{}, {"norm": "post", "positions": "learned", "tie_embeddings": "none", "activation": "gelu"}]
)
def test_step_equals_decode_also_after_reordering(changes: dict[str, object]) -> None:
    model = make(settings(**changes))
    B, K, L = 2, 3, 7
    tokens = np.array(jax.random.randint(jax.random.key(1), (B, K, L), 0, V))
    parents = np.array([[2, 0, 0], [1, 1, 2]])
    cache = model.start(SOURCE, beam_size=K, cache_length=L)
    found = []
    for position in range(L):
        if position == 3:
            cache = cache.reorder(jnp.asarray(parents))
        logits, cache = step(model, tokens[:, :, position], cache, jnp.asarray(position))
        found.append(logits)

    def decoded(tokens: np.ndarray) -> Array:
        logits = forward(model, jnp.repeat(SOURCE, K, axis=0), jnp.asarray(tokens.reshape(B * K, L)))
        return logits.reshape(B, K, L, V)

    reordered = tokens.copy()
    reordered[:, :, :3] = np.take_along_axis(tokens[:, :, :3], parents[:, :, None], axis=1)
    assert_close(jnp.stack(found[:3], axis=2), decoded(tokens)[:, :, :3])
    assert_close(jnp.stack(found[3:], axis=2), decoded(reordered)[:, :, 3:])


@pytest.mark.parametrize(
    ("norm", "positions", "tied"),
    list(product(("pre", "post"), ("sinusoidal", "learned"), ("all", "decoder", "none"))),
)
def test_parameters_are_as_many_as_by_hand(norm: str, positions: str, tied: str) -> None:
    chosen = settings(norm=norm, positions=positions, tie_embeddings=tied)
    source_vocabulary = V if tied == "all" else 17
    model = jax.eval_shape(lambda rng: Transformer(chosen, source_vocabulary, V, rng=rng), jax.random.key(0))
    attention, feed_forward, layer_norm = 4 * (D * D + D), D * F + F + F * D + D, 2 * D
    layers = ENCODER * (attention + feed_forward + 2 * layer_norm)
    layers += DECODER * (2 * attention + feed_forward + 3 * layer_norm)
    tables = {"all": V, "decoder": 17 + V, "none": 17 + V + V}[tied] * D
    others = (2 * layer_norm if norm == "pre" else 0) + (2 * POSITIONS * D if positions == "learned" else 0)
    assert sum(leaf.size for leaf in jax.tree.leaves(model)) == layers + tables + others
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "post", "activation": "silu", "tie_embeddings": "decoder"},
        {"positions": "learned", "activation": "gelu", "tie_embeddings": "none", "compute_dtype": "auto"},
    ],
)
def test_every_setting_trains(changes: dict[str, object]) -> None:
    """Every parameter has a gradient: none is left out of the computation."""
    model = make(settings(**changes), source=17)
    logits = jax.eval_shape(forward, model, SOURCE, TARGET)
    assert logits.shape == (2, 4, V)
    assert logits.dtype == jnp.float32
    for name, gradient in named(gradients(model, SOURCE, TARGET)).items():
        assert np.all(np.isfinite(gradient)), name
        assert np.any(gradient != 0), name


def test_tied_tables_are_one() -> None:
    tables = {
        tied: [name for name in named(make(settings(tie_embeddings=tied))) if "embedding" in name]
        for tied in ("all", "decoder", "none")
    }
    assert tables["all"] == ["source_embedding.table"]
    assert set(tables["decoder"]) == {"source_embedding.table", "target_embedding.table"}
    assert set(tables["none"]) == {"source_embedding.table", "target_embedding.table", "output_embedding.table"}


def test_a_tied_table_serves_source_target_and_output(plain: Transformer) -> None:
    table = jnp.asarray(named(plain)["source_embedding.table"])
    for token in (SOURCE[0, 0], TARGET[0, 1]):
        changed = with_values(plain, named(plain) | {"source_embedding.table": table.at[token].multiply(2)})
        difference = np.abs(forward(changed, SOURCE, TARGET) - forward(plain, SOURCE, TARGET))
        assert difference[0].max() > 1e-4
        np.testing.assert_array_equal(difference[1].max(axis=0) > 1e-6, np.arange(V) == token)


def test_after_norms_need_no_last_norm() -> None:
    model = make(settings(norm="post"))
    assert model.encoder_norm is None
    assert model.decoder_norm is None
    last = model.encoder.feed_forward_residual.norm
    states = (encode(model, SOURCE).states - last.bias[-1][None, None]) / last.scale[-1][None, None]
    np.testing.assert_allclose(states.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(states.var(axis=-1), 1, rtol=1e-3)


def test_bfloat16_is_close_to_float32(plain: Transformer) -> None:
    model = make(settings(compute_dtype="bfloat16"))
    jax.tree.map(np.testing.assert_array_equal, list(named(model).values()), list(named(plain).values()))
    exact, found = forward(plain, SOURCE, TARGET), forward(model, SOURCE, TARGET)
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - exact).max() < 0.1
    assert encode(model, SOURCE).states.dtype == jnp.bfloat16
    assert (compute_dtype("auto"), compute_dtype("bfloat16")) == (jnp.float32, jnp.bfloat16)


def test_remat_changes_nothing(plain: Transformer) -> None:
    model = make(settings(remat=True))
    assert "remat" in str(jax.make_jaxpr(forward)(model, SOURCE, TARGET))
    expected = named(gradients(plain, SOURCE, TARGET))
    for name, gradient in named(gradients(model, SOURCE, TARGET)).items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_no_dropout_without_a_key(plain: Transformer) -> None:
    without = make(settings(dropout=0.0, attention_dropout=0.0))
    assert plain.settings.dropout > 0
    assert_close(forward(plain, SOURCE, TARGET), forward(without, SOURCE, TARGET, jax.random.key(1)))


@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"attention_dropout": 0.5, "dropout": 0.0}])
def test_dropout_follows_its_key(rates: dict[str, object], plain: Transformer) -> None:
    model = make(settings(**rates))
    one, same, other = (forward(model, SOURCE, TARGET, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - forward(plain, SOURCE, TARGET)).max() > 1e-3


def test_parameters_have_names(plain: Transformer) -> None:
    names = named(plain)
    assert names["encoder.self_attention.query.kernel"].shape == (ENCODER, D, D)
    assert names["decoder.feed_forward.up.bias"].shape == (DECODER, F)
    doubled = with_values(plain, {name: 2 * value for name, value in names.items()})
    jax.tree.map(lambda two, one: np.testing.assert_array_equal(two, 2 * one), doubled, plain)
