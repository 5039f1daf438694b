"""Makes recurrent.json with real Keras 3 on JAX (CPU): recurrent layers, their wrappers, and what makes masks.

    python generate_recurrent.py    # writes the file beside this one, in about 2 minutes

Numbers and helpers as in generate.py. Schema: README.md.
"""
import sys

import generate as g
import jax
import jax.numpy as jnp
import keras
import numpy as np

L = keras.layers
serialize = keras.saving.serialize_keras_object


def flat(out):
    return jax.tree_util.tree_leaves(out)


def plain(config):
    """What a Keras object was serialised to, without what says nothing here."""
    if isinstance(config, dict):
        drop = ("module", "registered_name", "build_config", "dtype", "name", "trainable", "seed", "quantization_config")
        return {k: plain(v) for k, v in config.items() if k not in drop and not (v is None and k != "merge_mode")}
    return [plain(v) for v in config] if isinstance(config, list) else config


def case(name, layer, shapes, mask=None, ints=None, training=False):
    """Inputs: a sequence, then initial states. The mask is that of the first input."""
    r = g.Rand(name)
    inputs = [r.ints(ints, *s) if ints else r.normal(*s) for s in shapes]
    if isinstance(layer, L.Masking):
        inputs[0] = np.where(np.asarray(mask)[..., None], inputs[0], np.float32(layer.mask_value)).astype(g.FLOAT)
        mask = None
    layer.build(inputs[0].shape)
    for var in layer.weights:
        scale = 1.0 / np.sqrt(var.shape[0]) if len(var.shape) >= 2 and var.shape[0] > 2 else 0.5
        var.assign(r.normal(*var.shape, scale=scale, shift=0.0 if len(var.shape) >= 2 else 0.1))
    trainable = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]  # of random numbers
    assert [v.path for v in layer.weights] == [v.path for v in layer.trainable_variables]
    kwargs = {}
    if mask is not None and layer._call_has_mask_arg:
        kwargs["mask"] = jnp.asarray(mask)
    floats = not ints

    def call(tv, xs):
        first, *states = xs if floats else inputs
        if states:
            kwargs["initial_state"] = states
        return flat(layer.stateless_call(tv, state, first, **kwargs)[0])

    xs = [jnp.asarray(x) for x in inputs]
    outputs = call(trainable, xs)
    upstream = [r.normal(*y.shape, scale=0.8, shift=0.2) for y in outputs]
    f = lambda tv, xs: sum(jnp.sum(y * u) for y, u in zip(call(tv, xs), upstream))
    g_weights, g_inputs = jax.grad(f, argnums=(0, 1))(trainable, xs) if floats else (jax.grad(f)(trainable, xs), [])
    out_mask = layer.compute_mask(xs[0], None if mask is None else jnp.asarray(mask))
    out_mask = out_mask[0] if isinstance(out_mask, (list, tuple)) else out_mask
    config = plain(layer.get_config())
    return {
        "name": name, "layer": type(layer).__name__, "config": config, "mask": None if mask is None else g.arr(np.asarray(mask, "int32")),
        "inputs": [g.arr(x) for x in inputs], "weights": [g.arr(v.value) for v in layer.weights],
        "outputs": [g.arr(y) for y in outputs], "output_mask": None if out_mask is None else g.arr(np.asarray(out_mask, "int32")),
        "upstream": [g.arr(u) for u in upstream], "input_grads": [g.arr(x) for x in g_inputs], "weight_grads": [g.arr(x) for x in g_weights],
    }


# Holes, all masked, padding behind, padding before, none masked.
MASK = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
X = (5, 5, 3)


def cases():
    out = []
    add = lambda *args, **more: out.append(case(*args, **more))
    for name, cls, states in (("lstm", L.LSTM, 2), ("gru", L.GRU, 1), ("simple_rnn", L.SimpleRNN, 1)):
        initial = [(5, 2)] * states
        add(f"{name}_mask", cls(2), [X], MASK)
        add(f"{name}_mask_sequences_states", cls(2, return_sequences=True, return_state=True), [X, *initial], MASK)
        add(f"{name}_mask_zero_output", cls(2, return_sequences=True, return_state=True, zero_output_for_mask=True), [X], MASK)
        add(f"{name}_mask_zero_last_output", cls(2, zero_output_for_mask=True), [X, *initial], MASK)
        add(f"{name}_mask_backwards", cls(2, return_sequences=True, return_state=True, go_backwards=True), [X, *initial], MASK)
        add(f"{name}_backwards", cls(3, go_backwards=True), [(2, 4, 3)])
        add(f"{name}_states", cls(3, return_state=True), [(2, 4, 3)] + [(2, 3)] * states)
        add(f"{name}_one_step", cls(2, return_sequences=True), [(3, 1, 2)])
        add(f"{name}_no_bias_relu", cls(3, use_bias=False, activation="relu", return_sequences=True), [(2, 4, 3)])
        add(f"{name}_mask_relu", cls(2, activation="relu", return_sequences=True, return_state=True), [X, *initial], MASK)
    add("gru_before", L.GRU(3, reset_after=False, return_sequences=True), [(2, 4, 3)])
    add("gru_before_mask", L.GRU(2, reset_after=False, return_state=True), [X, (5, 2)], MASK)
    add("gru_hard_sigmoid", L.GRU(3, recurrent_activation="hard_sigmoid"), [(2, 4, 3)])
    add("gru_after_no_bias", L.GRU(3, use_bias=False), [(2, 4, 3)])

    both = lambda layer, **more: L.Bidirectional(layer, **more)
    add("bidirectional_lstm", both(L.LSTM(2)), [(3, 4, 3)])
    add("bidirectional_lstm_mask", both(L.LSTM(2, return_sequences=True)), [X], MASK)
    add("bidirectional_lstm_mask_last", both(L.LSTM(2)), [X], MASK)
    add("bidirectional_gru_mask_states", both(L.GRU(2, return_sequences=True, return_state=True), merge_mode="sum"), [X, (5, 2), (5, 2)], MASK)
    add("bidirectional_lstm_states", both(L.LSTM(2, return_state=True), merge_mode="mul"), [(3, 4, 2)] + [(3, 2)] * 4)
    add("bidirectional_gru_ave", both(L.GRU(2, return_sequences=True), merge_mode="ave"), [(2, 4, 3)])
    add("bidirectional_simple_rnn_none", both(L.SimpleRNN(2, return_sequences=True), merge_mode=None), [X], MASK)
    add("bidirectional_two_kinds", both(L.LSTM(2, return_sequences=True), backward_layer=L.GRU(3, go_backwards=True, return_sequences=True)), [X], MASK)

    add("rnn_gru_cell_mask", L.RNN(L.GRUCell(2), return_sequences=True, return_state=True), [X, (5, 2)], MASK)
    stack = lambda: L.StackedRNNCells([L.LSTMCell(2), L.GRUCell(3), L.SimpleRNNCell(2)])
    add("rnn_stacked", L.RNN(stack(), return_sequences=True, return_state=True), [(2, 4, 3)])
    add("rnn_stacked_mask", L.RNN(L.StackedRNNCells([L.LSTMCell(2), L.LSTMCell(3)]), return_sequences=True, return_state=True), [X], MASK)

    add("time_distributed_dense", L.TimeDistributed(L.Dense(4, activation="tanh")), [(2, 3, 5)], MASK[:2, :3])
    add("time_distributed_conv", L.TimeDistributed(L.Conv2D(2, 2)), [(2, 3, 4, 3, 2)])
    add("time_distributed_lstm", L.TimeDistributed(L.LSTM(3)), [(2, 3, 4, 2)])

    add("masking", L.Masking(), [X], MASK)
    add("masking_value", L.Masking(mask_value=-1.5), [X], MASK)
    add("embedding_mask_zero", L.Embedding(4, 3, mask_zero=True), [(3, 5)], ints=4)
    return out


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    g.write("recurrent.json", cases())
