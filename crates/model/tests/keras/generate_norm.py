"""Makes norm.json and attention.json with real Keras 3 on JAX (CPU): layers with options, masks, several inputs or several outputs.

    python generate_norm.py

Numbers and helpers as in generate.py.
"""
import sys

import generate as g
import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask

# Arguments of `call` in Keras that are fields of the layer here.
CALL = {"use_causal_mask", "return_attention_scores"}


def weights_of(layer, r):
    """Generic weights: no zeros and no ones, also where Keras would start with them."""
    weights = []
    for w in layer.weights:
        name, shape = w.name, tuple(w.shape)
        if name == "moving_variance":
            weights.append(r.uniform(*shape, low=0.4, high=2.5))
        elif name in ("gamma", "scale"):
            weights.append(r.normal(*shape, scale=0.4, shift=1.1))
        elif len(shape) >= 2:
            weights.append(r.normal(*shape, scale=1.0 / np.sqrt(np.prod(shape[:-1]))))
        else:
            weights.append(r.normal(*shape, scale=0.5, shift=0.1))
    return weights


def split(config):
    return {k: v for k, v in config.items() if k not in CALL}, {k: v for k, v in config.items() if k in CALL}


def case(name, cls, config, inputs, training=False, masks=None):
    r = g.Rand(name)
    masks = masks or [None] * len(inputs)
    own, kwargs = split(config)
    layer = getattr(keras.layers, cls)(**own)
    if layer._call_has_training_arg:
        kwargs["training"] = training

    def call(tv, state, xs):
        mapping = list(zip(layer.trainable_variables, tv)) + list(zip(layer.non_trainable_variables, state))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            xs = [x + 0 for x in xs]  # the same array twice would share a mask
            for x, mask in zip(xs, masks):
                if mask is not None:
                    set_keras_mask(x, jnp.asarray(mask))
            outputs = layer(*xs, **kwargs) if cls == "MultiHeadAttention" else layer(xs if len(xs) > 1 else xs[0], **kwargs)
        first = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        after = [scope.get_current_value(v) for v in layer.non_trainable_variables]
        return outputs, get_keras_mask(first), [old if new is None else new for old, new in zip(state, after)]

    build(layer, cls, inputs, kwargs)
    weights = weights_of(layer, r)
    for variable, value in zip(layer.weights, weights):
        variable.assign(value)
    tv = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]
    xs = [jnp.asarray(x) for x in inputs]
    outputs, mask, after = call(tv, state, xs)
    first = lambda outputs: outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    upstream = r.normal(*first(outputs).shape, scale=0.8, shift=0.2)
    f = lambda tv, xs: jnp.sum(first(call(tv, state, xs)[0]) * upstream)
    g_weights, g_inputs = jax.grad(f, argnums=(0, 1))(tv, xs)
    grad_of = {id(v): grad for v, grad in zip(layer.trainable_variables, g_weights)}
    after_of = {id(v): a for v, a in zip(layer.non_trainable_variables, after)}
    opt = lambda a: None if a is None else g.arr(a)
    return {
        "name": name, "layer": cls, "config": config, "training": training,
        "inputs": [g.arr(x) for x in inputs], "masks": [opt(m) for m in masks], "weights": [g.arr(w) for w in weights],
        "output": g.arr(first(outputs)), "second": opt(outputs[1]) if isinstance(outputs, (tuple, list)) else None,
        "output_mask": opt(mask), "upstream": g.arr(upstream),
        "input_grads": [g.arr(x) for x in g_inputs],
        "weight_grads": [opt(grad_of.get(id(w))) for w in layer.weights],
        "weights_after": [g.arr(after_of.get(id(w), w.value)) for w in layer.weights] if after else None,
    }


def build(layer, cls, inputs, kwargs):
    if layer.built:
        return
    xs = [keras.KerasTensor(x.shape) for x in inputs]
    kwargs = {k: v for k, v in kwargs.items() if k != "training"}
    layer(*xs, **kwargs) if cls == "MultiHeadAttention" else layer(xs if len(xs) > 1 else xs[0], **kwargs)


def step_case(name, cls, config, inputs):
    """One step of SGD with the loss mean(y_true * output) and what the layer adds to it."""
    r = g.Rand(name)
    config, kwargs = split(config)
    ins = [keras.Input(x.shape[1:]) for x in inputs]
    layer = getattr(keras.layers, cls)(**config)
    out = layer(*ins, **kwargs) if cls == "MultiHeadAttention" else layer(ins if len(ins) > 1 else ins[0], **kwargs)
    model = keras.Model(ins, out)
    weights = weights_of(layer, r)
    model.set_weights(weights)
    y = r.normal(inputs[0].shape[0], *out.shape[1:])
    model.compile(keras.optimizers.SGD(0.5), loss=lambda t, p: keras.ops.mean(t * p, axis=-1))
    loss = model.train_on_batch(inputs, y)
    return {"name": name, "layer": cls, "config": {**config, **kwargs}, "inputs": [g.arr(x) for x in inputs], "weights": [g.arr(w) for w in weights],
            "y": g.arr(y), "loss": g.num(loss), "weights_after": [g.arr(w) for w in model.get_weights()]}


def cases(attention):
    out = []

    def add(name, cls, config, *shapes, training=False, masked=(), shift=0.0):
        """`masked`: the inputs that have a mask over their second axis."""
        r = g.Rand(name + ".x")
        inputs = [r.normal(*s, shift=shift) for s in shapes]
        masks = []
        for i, s in enumerate(shapes):
            mask = np.arange(s[1])[None, :] < 1 + r.ints(s[1], s[0])[:, None] if i in masked else None
            if mask is not None:
                mask[0, 1] = True
                mask[0, 0] = False
            masks.append(mask)
        out.append(case(name, cls, config, inputs, training, masks))

    if attention:
        q, v, k = (2, 3, 4), (2, 5, 3), (2, 5, 4)
        same = (2, 5, 4)
        A, M = "Attention", "MultiHeadAttention"
        add("attention", A, {}, q, same)
        add("attention_key_scale", A, {"use_scale": True}, q, v, k, masked=[0, 1])
        add("attention_concat", A, {"score_mode": "concat"}, q, same)
        add("attention_concat_scale", A, {"score_mode": "concat", "use_scale": True, "return_attention_scores": True}, q, v, k, masked=[1])
        add("attention_causal", A, {"use_causal_mask": True, "return_attention_scores": True}, same, same)
        add("attention_causal_masked", A, {"use_causal_mask": True}, same, same, masked=[0, 1])
        add("additive", "AdditiveAttention", {}, q, same)
        add("additive_masked", "AdditiveAttention", {"return_attention_scores": True}, q, v, k, masked=[0, 1])
        add("additive_causal", "AdditiveAttention", {"use_scale": False, "use_causal_mask": True}, same, same)
        h = lambda **more: {"num_heads": 2, "key_dim": 3, **more}
        add("multi_head", M, h(), q, same)
        add("multi_head_key", M, h(value_dim=4, output_shape=[5], return_attention_scores=True), q, v, k)
        add("multi_head_masked", M, h(), q, v, k, masked=[0, 1])
        add("multi_head_masked_scores", M, h(return_attention_scores=True), q, v, k, masked=[0, 1])
        add("multi_head_causal", M, h(use_causal_mask=True), same, same)
        add("multi_head_causal_masked", M, h(use_causal_mask=True, return_attention_scores=True), same, same, masked=[1])
        add("multi_head_no_bias", M, h(use_bias=False, output_shape=[2, 3]), q, same)
        add("multi_head_gate_window", M, h(use_gate=True, sliding_window=2), same, same)
        for cls, config, shape in (("Dropout", {"rate": 0.3, "noise_shape": [None, 1, 4]}, (2, 3, 4)), ("SpatialDropout1D", {"rate": 0.3}, (2, 3, 4)),
                                   ("SpatialDropout2D", {"rate": 0.3}, (2, 3, 2, 2)), ("SpatialDropout3D", {"rate": 0.3}, (2, 2, 2, 2, 2)),
                                   ("GaussianNoise", {"stddev": 0.3}, (2, 3, 4)), ("GaussianDropout", {"rate": 0.3}, (2, 3, 4)), ("AlphaDropout", {"rate": 0.3}, (2, 3, 4))):
            add(f"{cls}_inference", cls, config, shape, masked=[0] if len(shape) == 3 else [])
        return out

    add("dense_masked", "Dense", {"units": 3}, (3, 4, 5), masked=[0])
    for training in (True, False):
        t = "training" if training else "inference"
        add(f"batch_norm_masked_{t}", "BatchNormalization", {}, (3, 5, 4), training=training, masked=[0], shift=0.4)
    add("batch_norm_axis1_training", "BatchNormalization", {"axis": 1, "momentum": 0.5}, (3, 4, 2, 3), training=True)

    N = "LayerNormalization"
    add("layer_norm", N, {}, (4, 7), shift=0.8)
    add("layer_norm_masked", N, {}, (3, 4, 5), masked=[0])
    add("layer_norm_two_axes", N, {"axis": [-2, -1]}, (3, 4, 2, 5))
    add("layer_norm_axis1", N, {"axis": 1, "epsilon": 0.05}, (2, 5, 3))
    add("layer_norm_axes_1_3", N, {"axis": [1, 3]}, (2, 3, 4, 3))
    add("layer_norm_no_center", N, {"center": False}, (3, 6))
    add("layer_norm_no_scale", N, {"scale": False}, (3, 6))
    add("layer_norm_bare", N, {"scale": False, "center": False}, (3, 1, 6))
    add("rms_norm", "RMSNormalization", {}, (4, 7), shift=0.8)
    add("rms_norm_axes", "RMSNormalization", {"axis": [1, 2], "epsilon": 0.1}, (3, 4, 5))
    add("rms_norm_masked", "RMSNormalization", {}, (3, 4, 5), masked=[0])
    add("unit_norm", "UnitNormalization", {}, (4, 7))
    add("unit_norm_axes", "UnitNormalization", {"axis": [1, 2]}, (3, 4, 5), masked=[0])
    add("group_norm", "GroupNormalization", {"groups": 2}, (3, 3, 4, 6), shift=0.5)
    add("group_norm_each", "GroupNormalization", {"groups": -1}, (2, 5, 4))
    add("group_norm_one", "GroupNormalization", {"groups": 1, "epsilon": 0.02}, (2, 5, 4), masked=[0])
    add("group_norm_axis1", "GroupNormalization", {"groups": 3, "axis": 1, "center": False}, (2, 6, 3, 2))
    add("group_norm_2d", "GroupNormalization", {"groups": 2, "scale": False}, (4, 8))

    add("leaky_relu", "LeakyReLU", {}, (4, 5), masked=[0])
    add("leaky_relu_slope", "LeakyReLU", {"negative_slope": 0.05}, (2, 3, 4))
    add("elu", "ELU", {}, (4, 5), masked=[0])
    add("elu_alpha", "ELU", {"alpha": 0.7}, (2, 3, 4))
    add("prelu", "PReLU", {}, (3, 4, 5), masked=[0])
    add("prelu_shared", "PReLU", {"shared_axes": [1, 2]}, (2, 3, 4, 5))
    add("prelu_shared_one", "PReLU", {"shared_axes": 1}, (2, 3, 4))
    add("relu", "ReLU", {}, (4, 5), masked=[0])
    for name, config in (("max", {"max_value": 0.6}), ("six", {"max_value": 6.0}), ("slope", {"negative_slope": 0.2}), ("threshold", {"threshold": 0.4}),
                         ("all", {"max_value": 0.9, "negative_slope": 0.1, "threshold": 0.3})):
        add(f"relu_{name}", "ReLU", config, (5, 6))
    add("softmax", "Softmax", {}, (4, 5))
    add("softmax_axis", "Softmax", {"axis": 1}, (3, 4, 5))
    add("softmax_axes", "Softmax", {"axis": [1, -1]}, (2, 3, 2, 4))
    add("softmax_masked", "Softmax", {}, (3, 6), masked=[0])
    add("identity", "Identity", {}, (2, 3, 4), masked=[0])
    add("activity_regularization", "ActivityRegularization", {"l1": 0.1, "l2": 0.2}, (3, 4), masked=[0])

    add("dot", "Dot", {"axes": 1}, (3, 5), (3, 5))
    add("dot_last", "Dot", {"axes": -1}, (3, 2, 5), (3, 4, 5))
    add("dot_axes", "Dot", {"axes": [1, 2]}, (2, 3, 5), (2, 4, 3), masked=[0, 1])
    add("dot_normalize", "Dot", {"axes": [2, 1], "normalize": True}, (2, 3, 5), (2, 5, 4))
    add("dot_vector_matrix", "Dot", {"axes": [1, 2]}, (3, 4), (3, 5, 4))
    add("dot_4d", "Dot", {"axes": [2, 1]}, (2, 3, 4, 2), (2, 4, 3))
    for cls in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
        low = cls.lower()
        add(f"{low}_two", cls, {}, (3, 4), (3, 4))
        add(f"{low}_broadcast", cls, {}, (2, 3, 4), (2, 1, 4), masked=[0])
        if cls != "Subtract":
            add(f"{low}_three", cls, {}, (2, 3, 2), (2, 3, 2), (2, 3, 2), masked=[0, 1, 2])
            add(f"{low}_ranks", cls, {}, (3, 4), (3, 2, 4))
    add("subtract_masked", "Subtract", {}, (2, 3, 2), (2, 3, 2), masked=[0, 1])
    add("concatenate", "Concatenate", {}, (2, 3, 4), (2, 3, 2), (2, 3, 1))
    add("concatenate_axis1", "Concatenate", {"axis": 1}, (2, 3, 4), (2, 5, 4))
    add("concatenate_masked", "Concatenate", {}, (2, 3, 4), (2, 3, 2), masked=[0, 1])
    add("concatenate_masked_once", "Concatenate", {}, (2, 3, 4), (2, 3, 2), masked=[1])
    add("concatenate_axis1_masked", "Concatenate", {"axis": 1}, (2, 3, 4), (2, 5, 4), masked=[0, 1])
    return out


def steps():
    r = g.Rand("steps")
    l1 = {"class_name": "L1", "config": {"l1": 0.03}}
    l2 = {"class_name": "L2", "config": {"l2": 0.05}}
    norm = {"class_name": "MaxNorm", "config": {"max_value": 0.8, "axis": 0}}
    positive = {"class_name": "NonNeg", "config": {}}
    both = {"beta_regularizer": l1, "gamma_regularizer": l2, "beta_constraint": positive, "gamma_constraint": norm}
    return [
        step_case("dense_step", "Dense", {"units": 4, "kernel_regularizer": l2, "bias_regularizer": l1, "activity_regularizer": l2,
                                          "kernel_constraint": norm, "bias_constraint": positive}, [r.normal(5, 3)]),
        step_case("dense_activity_step", "Dense", {"units": 4, "activation": "tanh", "activity_regularizer": l1}, [r.normal(5, 2, 3)]),
        step_case("batch_norm_step", "BatchNormalization", both, [r.normal(6, 4)]),
        step_case("layer_norm_step", "LayerNormalization", both, [r.normal(6, 4)]),
        step_case("group_norm_step", "GroupNormalization", {"groups": 2, **both}, [r.normal(3, 2, 4)]),
        step_case("prelu_step", "PReLU", {"alpha_regularizer": l2, "alpha_constraint": positive, "shared_axes": [1]}, [r.normal(3, 2, 4)]),
    ]


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    g.write("attention.json", cases(True))
    g.write("norm.json", cases(False), steps=steps())
