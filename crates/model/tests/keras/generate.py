"""Makes the JSON fixtures of this folder with real Keras 3 on JAX (CPU). The Rust tests compare Ibex with them.

    python generate.py           # writes *.json beside this file
    python generate.py --check   # recomputes what is on disk in float64 and by finite differences

Every number in the files is either an input drawn here (numpy, one generator per case, seeded by the case's name) or
what Keras answered in float32. Inputs are rounded to 4 decimals to keep the files small. Schema: README.md.
"""
import json, os, subprocess, sys, warnings, zlib

CHECK = "--check" in sys.argv
if CHECK and os.environ.get("JAX_ENABLE_X64") != "1":  # must be set before jax starts
    sys.exit(subprocess.call([sys.executable, *sys.argv], env={**os.environ, "JAX_ENABLE_X64": "1"}))
os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"  # one thread: the sums keep their order
warnings.filterwarnings("ignore", message="Do not pass an `input_shape`")

import jax
import jax.numpy as jnp
import keras
import numpy as np

OUT = os.path.dirname(os.path.abspath(__file__))
FLOAT = "float64" if CHECK else "float32"
keras.config.set_floatx(FLOAT)
if CHECK:  # Keras demotes float64 to float32 in many ops unless its backend is TensorFlow
    from keras.src.backend.common import dtypes
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
jax.config.update("jax_default_matmul_precision", "highest")


# ---------------------------------------------------------------- arrays, files
def arr(a):
    """{"shape", "dtype", "data"}. Floats get the shortest decimal that parses back to the same f32 (also through f64)."""
    a = np.asarray(a)
    shape = list(a.shape)
    if a.dtype == bool:
        return {"shape": shape, "dtype": "bool", "data": a.ravel().tolist()}
    if a.dtype.kind in "iu":
        return {"shape": shape, "dtype": "i32", "data": a.ravel().tolist()}
    a = a.astype(np.float32)
    assert np.isfinite(a).all(), "not finite"
    data = [float(str(v)) for v in a.ravel()]
    assert (np.array(data, np.float64).astype(np.float32) == a.ravel()).all()
    return {"shape": shape, "dtype": "f32", "data": data}


def num(v):
    """A float32 scalar as a JSON number (same rule)."""
    v = np.float32(v)
    assert np.isfinite(v)
    return float(str(v))


def back(d):
    """The inverse of arr(); floats come back as FLOAT."""
    if d is None:
        return None
    kind = {"f32": FLOAT, "i32": "int32", "bool": "bool"}[d["dtype"]]
    return np.array(d["data"], kind).reshape(d["shape"])


def write(name, cases=None, **fields):
    """One case per line, so that a diff of a regenerated file can be read."""
    head = {"keras": keras.__version__, "jax": jax.__version__, "numpy": np.__version__}
    text = json.dumps(head)[:-1]
    for k, v in fields.items():
        rows = isinstance(v, list) and isinstance(v[0], dict)
        text += f",\n{json.dumps(k)}: " + ("[\n" + ",\n".join(json.dumps(x) for x in v) + "\n]" if rows else json.dumps(v))
    if cases is not None:
        names = [c["name"] for c in cases]
        assert len(set(names)) == len(names), "two cases with one name"
        text += ',\n"cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]"
    text += "}\n"
    json.loads(text, parse_constant=lambda s: sys.exit(f"{name}: {s}"))
    assert len(text) < 400_000, (name, len(text))
    with open(f"{OUT}/{name}", "w") as f:
        f.write(text)
    print(f"{name:20} {len(text):7} bytes" + (f"  {len(cases)} cases" if cases is not None else ""), flush=True)


class Rand:
    """The random numbers of one case."""

    def __init__(self, name):
        self.g = np.random.default_rng(zlib.crc32(name.encode()))

    def normal(self, *shape, scale=1.0, shift=0.0):
        return np.round(self.g.normal(size=shape) * scale + shift, 4).astype(FLOAT)

    def uniform(self, *shape, low=0.0, high=1.0):
        return np.round(self.g.uniform(low, high, shape), 4).astype(FLOAT)

    def ints(self, n, *shape):
        return self.g.integers(0, n, shape).astype("int32")

    def probs(self, *shape):
        """Rows of positive numbers that sum to about 1 (rounded: not exactly)."""
        e = np.exp(self.g.normal(size=shape) * 1.5)
        return np.round(e / e.sum(-1, keepdims=True), 4).clip(1e-3).astype(FLOAT)

    def one_hot(self, n, *shape):
        return np.eye(n, dtype=FLOAT)[self.ints(n, *shape)]


def is_float(a):
    return np.asarray(a).dtype.kind == "f"


# ---------------------------------------------------------------- layers.json
def run_layer(cls, config, training, inputs, weights, upstream):
    """Keras' layer.stateless_call and jax.grad of sum(output * upstream)."""
    layer = getattr(keras.layers, cls)(**config)
    layer.build(inputs[0].shape)
    assert [tuple(w.shape) for w in layer.weights] == [w.shape for w in weights], cls
    for var, value in zip(layer.weights, weights):
        var.assign(value)
    trainable = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]
    floats = [i for i, x in enumerate(inputs) if is_float(x)]

    def call(tv, xs):
        full = [jnp.asarray(x) for x in inputs]
        for i, x in zip(floats, xs):
            full[i] = x
        mode = {"training": training} if layer._call_has_training_arg else {}
        return layer.stateless_call(tv, state, *full, **mode)

    def f(tv, xs):
        return jnp.sum(call(tv, xs)[0] * upstream)

    xs = [jnp.asarray(inputs[i]) for i in floats]
    output, state_after = call(trainable, xs)
    if upstream is None:
        return output.shape
    g_weights, g_inputs = jax.grad(f, argnums=(0, 1))(trainable, xs)
    # From Keras' split (trainable, non-trainable) back to layer.weights order.
    grad_of = {id(v): g for v, g in zip(layer.trainable_variables, g_weights)}
    after_of = {id(v): g for v, g in zip(layer.non_trainable_variables, state_after)}
    return {
        "output": output,
        "input_grads": [g_inputs[floats.index(i)] if i in floats else None for i in range(len(inputs))],
        "weight_grads": [grad_of.get(id(w)) for w in layer.weights],
        "weights_after": [after_of.get(id(w), w.value) for w in layer.weights],
        "f": f, "trainable": trainable, "xs": xs, "g": (g_weights, g_inputs),
    }


def weight_shapes(cls, config, input_shape):
    layer = getattr(keras.layers, cls)(**config)
    layer.build(input_shape)
    return [(w.name, tuple(w.shape)) for w in layer.weights]


def layer_case(name, cls, config, inputs, training=False, weights=None):
    r = Rand(name)
    inputs = inputs if isinstance(inputs, list) else [inputs]
    if weights is None:  # generic weights: no zeros and no ones, also where Keras would start with them
        weights = []
        for wname, shape in weight_shapes(cls, config, inputs[0].shape):
            if wname == "moving_variance":
                weights.append(r.uniform(*shape, low=0.4, high=2.5))
            elif wname == "gamma":
                weights.append(r.normal(*shape, scale=0.4, shift=1.1))
            elif len(shape) >= 2:
                weights.append(r.normal(*shape, scale=1.0 / np.sqrt(np.prod(shape[:-1]))))
            else:
                weights.append(r.normal(*shape, scale=0.5, shift=0.1))
    upstream = r.normal(*run_layer(cls, config, training, inputs, weights, None), scale=0.8, shift=0.2)
    got = run_layer(cls, config, training, inputs, weights, upstream)
    opt = lambda g: None if g is None else arr(g)
    return {
        "name": name, "layer": cls, "config": config, "training": training,
        "inputs": [arr(x) for x in inputs], "weights": [arr(w) for w in weights],
        "output": arr(got["output"]), "upstream": arr(upstream),
        "input_grads": [opt(g) for g in got["input_grads"]],
        "weight_grads": [opt(g) for g in got["weight_grads"]],
        "weights_after": [arr(w) for w in got["weights_after"]] if cls == "BatchNormalization" and training else None,
    }


def layer_cases():
    cases = []

    def add(name, cls, config, shape, training=False, ints=None, shift=0.0, data=None):
        r = Rand(name + ".x")
        x = data if data is not None else r.ints(ints, *shape) if ints else r.normal(*shape, shift=shift)
        if cls == "MaxPooling2D" and data is None:
            x = (r.g.normal(size=shape) + shift).astype("float32").astype(FLOAT)  # not rounded: no ties
        if cls == "MaxPooling2D" and not name.endswith("_ties"):
            assert len(np.unique(x)) == x.size, name  # no two values alike, so no ties
        cases.append(layer_case(name, cls, config, x, training))

    add("dense_linear", "Dense", {"units": 5}, (4, 7))
    add("dense_relu", "Dense", {"units": 6, "activation": "relu"}, (5, 4))
    add("dense_no_bias", "Dense", {"units": 3, "use_bias": False, "activation": "tanh"}, (4, 6))
    add("dense_3d", "Dense", {"units": 4, "activation": "sigmoid"}, (3, 5, 6))
    add("dense_4d", "Dense", {"units": 3}, (2, 3, 2, 4))
    add("dense_softmax", "Dense", {"units": 5, "activation": "softmax"}, (4, 3))
    add("dense_one_unit", "Dense", {"units": 1}, (6, 3))

    activations = ["relu", "sigmoid", "tanh", "elu", "selu", "gelu", "silu", "softplus", "softsign", "exponential",
                   "leaky_relu", "hard_sigmoid", "relu6", "mish", "softmax", "log_softmax", "linear"]
    # "_wide": saturating and overflowing arguments. "_kink": arguments exactly at the corners, where the derivative is
    # what Keras (jax) chooses; no finite difference exists there.
    wide = np.array([[-88.5, -41.25, -17.5, -9.125], [-4.75, -2.625, 0.0625, 3.375], [6.875, 12.5, 37.25, 71.5]], FLOAT)
    kinks = {"relu": [0.0], "leaky_relu": [0.0], "relu6": [0.0, 6.0], "hard_sigmoid": [-3.0, 3.0], "elu": [0.0],
             "selu": [0.0], "softsign": [0.0], "silu": [0.0], "gelu": [0.0], "softplus": [0.0], "tanh": [0.0]}
    for a in activations:
        r = Rand("activation_" + a)
        cases.append(layer_case("activation_" + a, "Activation", {"activation": a}, r.normal(4, 7, scale=2.5)))
        cases.append(layer_case(f"activation_{a}_wide", "Activation", {"activation": a}, wide))
        if a in kinks:
            cases.append(layer_case(f"activation_{a}_kink", "Activation", {"activation": a}, np.array([kinks[a]], FLOAT)))
    add("activation_softmax_3d", "Activation", {"activation": "softmax"}, (2, 4, 5))
    add("activation_relu_4d", "Activation", {"activation": "relu"}, (2, 3, 3, 2))

    c = lambda **k: {"filters": 4, "kernel_size": 3, **k}
    add("conv_valid", "Conv2D", c(), (2, 6, 7, 3))
    add("conv_same", "Conv2D", c(padding="same"), (2, 5, 6, 3))
    add("conv_same_strides2_even", "Conv2D", c(padding="same", strides=2), (2, 6, 8, 2))
    add("conv_same_strides2_odd", "Conv2D", c(padding="same", strides=2), (2, 7, 5, 2))
    add("conv_same_strides2_even_odd", "Conv2D", c(padding="same", strides=2), (1, 6, 7, 2))
    add("conv_valid_strides2", "Conv2D", c(strides=2), (2, 8, 7, 2))
    add("conv_dilation2", "Conv2D", c(dilation_rate=2), (2, 7, 8, 2))
    add("conv_dilation2_same", "Conv2D", c(dilation_rate=2, padding="same"), (2, 6, 5, 2))
    add("conv_groups2", "Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2}, (2, 5, 6, 4))
    add("conv_groups2_same_strides2", "Conv2D", {"filters": 4, "kernel_size": 3, "groups": 2, "padding": "same", "strides": 2}, (2, 6, 5, 6))
    add("conv_no_bias_relu", "Conv2D", c(use_bias=False, activation="relu"), (2, 5, 5, 3))
    add("conv_kernel_3x2", "Conv2D", c(kernel_size=[3, 2]), (2, 6, 5, 3))
    add("conv_kernel_3x2_same", "Conv2D", c(kernel_size=[3, 2], padding="same"), (2, 5, 4, 2))
    add("conv_strides_2x1", "Conv2D", c(strides=[2, 1]), (2, 7, 6, 2))
    add("conv_strides_2x1_same", "Conv2D", c(strides=[2, 1], padding="same"), (2, 6, 5, 2))
    add("conv_kernel1", "Conv2D", c(kernel_size=1), (2, 4, 3, 5))
    add("conv_kernel1_strides2_same", "Conv2D", c(kernel_size=1, strides=2, padding="same"), (2, 5, 6, 3))
    add("conv_kernel5_same_small_image", "Conv2D", c(kernel_size=5, padding="same"), (1, 4, 3, 2))
    add("conv_kernel2_strides3_same", "Conv2D", c(kernel_size=2, strides=3, padding="same"), (1, 7, 8, 2))
    add("conv_one_channel_one_filter", "Conv2D", {"filters": 1, "kernel_size": 4}, (2, 6, 5, 1))

    # Shifted below zero, so that padding with 0 instead of -infinity shows.
    add("max_pool_2", "MaxPooling2D", {"pool_size": 2}, (2, 6, 7, 3))
    add("max_pool_3_strides2_same", "MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (2, 6, 7, 2), shift=-3.0)
    add("max_pool_3_strides1", "MaxPooling2D", {"pool_size": 3, "strides": 1}, (2, 5, 6, 2))
    add("max_pool_2_same_odd", "MaxPooling2D", {"pool_size": 2, "padding": "same"}, (2, 5, 3, 2), shift=-3.0)
    add("max_pool_2x3_strides_3x1", "MaxPooling2D", {"pool_size": [2, 3], "strides": [3, 1]}, (1, 8, 6, 2))
    ties = Rand("max_pool_ties.x").g.integers(0, 3, (2, 6, 6, 2)).astype(FLOAT) * 0.5 - 0.75
    add("max_pool_2_ties", "MaxPooling2D", {"pool_size": 2}, None, data=ties)
    add("max_pool_3_strides2_same_ties", "MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, None, data=ties)

    add("average_pool_2", "AveragePooling2D", {"pool_size": 2}, (2, 6, 7, 3))
    add("average_pool_3_strides2_same", "AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (2, 6, 7, 2), shift=1.5)
    add("average_pool_3_strides2", "AveragePooling2D", {"pool_size": 3, "strides": 2}, (2, 8, 7, 2))
    add("average_pool_2_same_odd", "AveragePooling2D", {"pool_size": 2, "padding": "same"}, (2, 5, 3, 2), shift=1.5)
    add("average_pool_2x3_strides_3x1", "AveragePooling2D", {"pool_size": [2, 3], "strides": [3, 1]}, (1, 8, 6, 2))

    add("flatten_4d", "Flatten", {}, (2, 3, 4, 2))
    add("flatten_3d", "Flatten", {}, (3, 2, 4))
    add("flatten_2d", "Flatten", {}, (3, 4))
    add("reshape", "Reshape", {"target_shape": [4, 3]}, (2, 12))
    add("reshape_minus_one", "Reshape", {"target_shape": [-1, 4]}, (2, 3, 8))
    add("reshape_to_flat", "Reshape", {"target_shape": [-1]}, (2, 3, 2))
    add("reshape_image", "Reshape", {"target_shape": [2, -1, 3]}, (2, 4, 6))
    add("dropout_inference", "Dropout", {"rate": 0.4}, (3, 5))

    for mode in (True, False):
        t = "training" if mode else "inference"
        add(f"batch_norm_4d_{t}", "BatchNormalization", {}, (3, 4, 3, 4), mode, shift=0.7)
        add(f"batch_norm_2d_{t}", "BatchNormalization", {}, (7, 5), mode, shift=-0.4)
        add(f"batch_norm_no_center_{t}", "BatchNormalization", {"center": False}, (6, 4), mode, shift=0.5)
        add(f"batch_norm_no_scale_{t}", "BatchNormalization", {"scale": False}, (6, 4), mode, shift=0.5)
        add(f"batch_norm_no_center_no_scale_{t}", "BatchNormalization", {"center": False, "scale": False}, (2, 3, 2, 3), mode, shift=0.5)
        add(f"batch_norm_momentum_epsilon_{t}", "BatchNormalization", {"momentum": 0.75, "epsilon": 0.02}, (5, 4), mode, shift=0.9)
        add(f"batch_norm_axis1_{t}", "BatchNormalization", {"axis": 1}, (3, 4, 5), mode, shift=0.3)
    # One row far from zero: the variance must not come from E[x^2] - E[x]^2 in f32.
    add("batch_norm_large_mean_training", "BatchNormalization", {}, (8, 3), True, shift=300.0)

    add("embedding", "Embedding", {"input_dim": 7, "output_dim": 4}, (3, 5), ints=7)  # 15 draws of 7: rows repeat
    add("embedding_1d", "Embedding", {"input_dim": 6, "output_dim": 3}, (8,), ints=4)  # rows 4, 5 never used: gradient 0

    add("lstm", "LSTM", {"units": 4}, (3, 5, 3))
    add("lstm_sequences", "LSTM", {"units": 4, "return_sequences": True}, (3, 5, 3))
    add("lstm_relu", "LSTM", {"units": 4, "activation": "relu"}, (3, 4, 3))
    add("lstm_hard_sigmoid", "LSTM", {"units": 3, "recurrent_activation": "hard_sigmoid"}, (2, 5, 4))
    add("lstm_no_bias", "LSTM", {"units": 4, "use_bias": False, "return_sequences": True}, (2, 4, 3))
    add("lstm_backwards", "LSTM", {"units": 4, "go_backwards": True}, (3, 5, 3))
    add("lstm_backwards_sequences", "LSTM", {"units": 3, "go_backwards": True, "return_sequences": True}, (2, 5, 4))
    add("lstm_one_step", "LSTM", {"units": 3}, (4, 1, 2))
    add("lstm_12_steps", "LSTM", {"units": 5}, (2, 12, 3))
    return cases


# ---------------------------------------------------------------- losses.json
def run_loss(cls, config, y_true, y_pred, weight):
    loss = getattr(keras.losses, cls)(**config)

    def f(p):
        return loss(jnp.asarray(y_true), p, sample_weight=None if weight is None else jnp.asarray(weight))

    value, grad = jax.value_and_grad(f)(jnp.asarray(y_pred))  # Keras' loss object, default or given reduction
    return value, grad, f


def loss_cases():
    cases = []

    def add(name, cls, config, y_true, y_pred, weight=None):
        value, grad, _ = run_loss(cls, config, y_true, y_pred, weight)
        cases.append({"name": name, "loss": cls, "config": config, "y_true": arr(y_true), "y_pred": arr(y_pred),
                      "sample_weight": None if weight is None else arr(weight), "value": num(value), "grad": arr(grad)})

    SUM, MWSW = {"reduction": "sum"}, {"reduction": "mean_with_sample_weight"}
    LOG = {"from_logits": True}
    r = Rand("losses")
    extreme = np.array([[120.5, -95.25, 3.5, 0.75], [-1000.0, 999.5, 998.75, 12.0], [-0.25, -88.0, -90.5, -104.0], [40.0, 39.0, -40.0, 41.5]], FLOAT)
    exact = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.25, 0.75], [0.5, 0.0, 0.5, 0.0]], FLOAT)

    S = "SparseCategoricalCrossentropy"
    add("sparse_ce_probs", S, {}, r.ints(5, 6), r.probs(6, 5))
    add("sparse_ce_probs_column_labels", S, {}, r.ints(5, 6, 1), r.probs(6, 5))
    add("sparse_ce_probs_not_normalised", S, {}, r.ints(4, 5), r.uniform(5, 4, low=0.1, high=3.0))
    add("sparse_ce_probs_3d", S, {}, r.ints(4, 3, 5), r.probs(3, 5, 4))
    add("sparse_ce_probs_exact_0_1", S, {}, np.array([0, 2, 3, 1], "int32"), exact)
    add("sparse_ce_logits", S, LOG, r.ints(5, 6), r.normal(6, 5, scale=2))
    add("sparse_ce_logits_column_labels", S, LOG, r.ints(5, 6, 1), r.normal(6, 5, scale=2))
    add("sparse_ce_logits_extreme", S, LOG, np.array([1, 0, 3, 3], "int32"), extreme)
    add("sparse_ce_logits_3d", S, LOG, r.ints(4, 3, 5), r.normal(3, 5, 4, scale=2))
    add("sparse_ce_logits_3d_column_labels", S, LOG, r.ints(4, 2, 3, 1), r.normal(2, 3, 4, scale=2))
    add("sparse_ce_logits_sum", S, {**LOG, **SUM}, r.ints(5, 6), r.normal(6, 5, scale=2))
    add("sparse_ce_probs_sum", S, SUM, r.ints(5, 6), r.probs(6, 5))
    w6 = r.uniform(6, low=0.1, high=3.0)
    add("sparse_ce_probs_weights", S, {}, r.ints(5, 6), r.probs(6, 5), w6)
    add("sparse_ce_logits_weights", S, LOG, r.ints(5, 6), r.normal(6, 5, scale=2), w6)
    add("sparse_ce_logits_weights_column", S, LOG, r.ints(5, 6), r.normal(6, 5, scale=2), w6.reshape(6, 1))
    add("sparse_ce_logits_weights_with_zeros", S, LOG, r.ints(5, 6), r.normal(6, 5, scale=2), w6 * np.array([1, 0, 1, 0, 0, 1], FLOAT))
    add("sparse_ce_logits_weights_sum", S, {**LOG, **SUM}, r.ints(5, 6), r.normal(6, 5, scale=2), w6)
    add("sparse_ce_logits_weights_mean_with_sample_weight", S, {**LOG, **MWSW}, r.ints(5, 6), r.normal(6, 5, scale=2), w6)
    add("sparse_ce_logits_3d_weights_per_sample", S, LOG, r.ints(4, 3, 5), r.normal(3, 5, 4), r.uniform(3, 1, low=0.2, high=2.0))
    add("sparse_ce_logits_3d_weights_per_step", S, LOG, r.ints(4, 3, 5), r.normal(3, 5, 4), r.uniform(3, 5, low=0.2, high=2.0))

    C = "CategoricalCrossentropy"
    soft = r.probs(5, 4)
    add("categorical_ce_probs", C, {}, r.one_hot(4, 6), r.probs(6, 4))
    add("categorical_ce_probs_soft_labels", C, {}, soft, r.probs(5, 4))
    add("categorical_ce_probs_not_normalised", C, {}, r.one_hot(4, 5), r.uniform(5, 4, low=0.1, high=3.0))
    add("categorical_ce_probs_smoothing", C, {"label_smoothing": 0.15}, r.one_hot(4, 6), r.probs(6, 4))
    add("categorical_ce_probs_exact_0_1", C, {}, np.eye(4, dtype=FLOAT)[[0, 2, 3, 1]], exact)
    add("categorical_ce_probs_3d", C, {}, r.one_hot(4, 2, 3), r.probs(2, 3, 4))
    add("categorical_ce_logits", C, LOG, r.one_hot(4, 6), r.normal(6, 4, scale=2))
    add("categorical_ce_logits_smoothing", C, {**LOG, "label_smoothing": 0.2}, r.one_hot(4, 6), r.normal(6, 4, scale=2))
    add("categorical_ce_logits_soft_labels", C, LOG, soft, r.normal(5, 4, scale=2))
    add("categorical_ce_logits_extreme", C, LOG, np.eye(4, dtype=FLOAT)[[1, 0, 3, 3]], extreme)
    add("categorical_ce_logits_sum", C, {**LOG, **SUM}, r.one_hot(4, 6), r.normal(6, 4, scale=2))
    add("categorical_ce_probs_sum", C, SUM, r.one_hot(4, 6), r.probs(6, 4))
    add("categorical_ce_probs_weights", C, {}, r.one_hot(4, 6), r.probs(6, 4), w6)
    add("categorical_ce_logits_weights", C, LOG, r.one_hot(4, 6), r.normal(6, 4, scale=2), w6)
    add("categorical_ce_logits_weights_sum", C, {**LOG, **SUM}, r.one_hot(4, 6), r.normal(6, 4, scale=2), w6)

    B = "BinaryCrossentropy"
    bits = lambda *s: r.ints(2, *s).astype(FLOAT)
    p = lambda *s: r.uniform(*s, low=0.03, high=0.97)
    w5 = r.uniform(5, low=0.1, high=3.0)
    add("binary_ce_probs_column", B, {}, bits(6, 1), p(6, 1))
    add("binary_ce_probs", B, {}, bits(5, 4), p(5, 4))
    add("binary_ce_probs_soft_labels", B, {}, p(5, 4), p(5, 4))
    add("binary_ce_probs_flat_labels", B, {}, bits(6), p(6, 1))  # (N,) against (N,1)
    add("binary_ce_probs_smoothing", B, {"label_smoothing": 0.2}, bits(5, 4), p(5, 4))
    add("binary_ce_probs_exact_0_1", B, {}, np.array([[0, 1, 0, 1], [1, 0, 0, 1]], FLOAT), np.array([[0, 0, 1, 1], [0.25, 1, 0.75, 0]], FLOAT))
    add("binary_ce_logits_column", B, LOG, bits(6, 1), r.normal(6, 1, scale=2))
    add("binary_ce_logits", B, LOG, bits(5, 4), r.normal(5, 4, scale=2))
    add("binary_ce_logits_smoothing", B, {**LOG, "label_smoothing": 0.1}, bits(5, 4), r.normal(5, 4, scale=2))
    add("binary_ce_logits_extreme", B, LOG, np.array([[0, 1, 0, 1], [1, 0, 1, 0]], FLOAT), np.array([[95.5, 120.25, -103.0, -88.75], [1000.0, 999.5, -1000.0, -17.5]], FLOAT))
    add("binary_ce_logits_sum", B, {**LOG, **SUM}, bits(5, 4), r.normal(5, 4, scale=2))
    add("binary_ce_probs_sum", B, SUM, bits(5, 4), p(5, 4))
    add("binary_ce_probs_weights", B, {}, bits(5, 4), p(5, 4), w5)
    add("binary_ce_probs_column_weights_column", B, {}, bits(5, 1), p(5, 1), w5.reshape(5, 1))
    add("binary_ce_logits_weights", B, LOG, bits(5, 4), r.normal(5, 4, scale=2), w5)
    add("binary_ce_logits_weights_sum", B, {**LOG, **SUM}, bits(5, 4), r.normal(5, 4, scale=2), w5)

    for cls, short in (("MeanSquaredError", "mse"), ("MeanAbsoluteError", "mae")):
        add(short, cls, {}, r.normal(5, 3), r.normal(5, 3))
        add(f"{short}_column", cls, {}, r.normal(6, 1), r.normal(6, 1))
        add(f"{short}_flat", cls, {}, r.normal(6), r.normal(6))  # per-sample loss of a vector is a scalar
        add(f"{short}_flat_labels", cls, {}, r.normal(6), r.normal(6, 1))  # (N,) against (N,1)
        add(f"{short}_3d", cls, {}, r.normal(2, 4, 3), r.normal(2, 4, 3))
        add(f"{short}_sum", cls, SUM, r.normal(5, 3), r.normal(5, 3))
        add(f"{short}_weights", cls, {}, r.normal(5, 3), r.normal(5, 3), w5)
        add(f"{short}_weights_column", cls, {}, r.normal(5, 3), r.normal(5, 3), w5.reshape(5, 1))
        add(f"{short}_weights_sum", cls, SUM, r.normal(5, 3), r.normal(5, 3), w5)
        add(f"{short}_weights_mean_with_sample_weight", cls, MWSW, r.normal(5, 3), r.normal(5, 3), w5)
        add(f"{short}_3d_weights_per_step", cls, {}, r.normal(2, 4, 3), r.normal(2, 4, 3), r.uniform(2, 4, low=0.2, high=2.0))
    y = r.normal(4, 3)
    q = r.normal(4, 3)
    q[0, 1] = y[0, 1]
    q[2] = y[2]
    # Where y_pred == y_true jax takes |x|' = 1 at 0, so the gradient is -1/12 there; tensorflow answers 0.
    add("mae_equal_elements_kink", "MeanAbsoluteError", {}, y, q)
    return cases


# ---------------------------------------------------------------- metrics.json
def run_metric(cls, config, batches):
    metric = getattr(keras.metrics, cls)(**config)
    results = []
    for y_true, y_pred, w in batches:  # Keras' running value after each update_state
        metric.update_state(y_true, y_pred, sample_weight=w)
        results.append(metric.result())
    return results


def metric_cases():
    cases = []
    r = Rand("metrics")
    sizes = (5, 8, 3)  # uneven on purpose: a mean of batch means would be wrong

    def add(name, cls, config, make, weight=None):
        batches = []
        for n in sizes:
            t, p = make(n)
            batches.append((t, p, None if weight is None else weight(n)))
        results = run_metric(cls, config, batches)
        cases.append({"name": name, "metric": cls, "config": config,
                      "batches": [{"y_true": arr(t), "y_pred": arr(p), "sample_weight": None if w is None else arr(w)} for t, p, w in batches],
                      "results": [num(v) for v in results]})

    w = lambda n: r.uniform(n, low=0.1, high=3.0)
    w_col = lambda n: r.uniform(n, 1, low=0.1, high=3.0)
    fl = lambda a: a.astype(FLOAT)
    add("accuracy_ints", "Accuracy", {}, lambda n: (r.ints(3, n), r.ints(3, n)))
    add("accuracy_floats_2d", "Accuracy", {}, lambda n: (fl(r.ints(2, n, 3)) * 0.5, fl(r.ints(2, n, 3)) * 0.5))
    add("accuracy_column", "Accuracy", {}, lambda n: (r.ints(3, n, 1), r.ints(3, n, 1)))
    add("accuracy_weights", "Accuracy", {}, lambda n: (r.ints(3, n), r.ints(3, n)), w)
    add("accuracy_2d_weights", "Accuracy", {}, lambda n: (r.ints(2, n, 3), r.ints(2, n, 3)), w)
    add("accuracy_all_weights_zero_first", "Accuracy", {}, lambda n: (r.ints(2, n), r.ints(2, n)), lambda n: np.zeros(n, FLOAT) if n == 5 else w(n))

    add("binary_accuracy_column", "BinaryAccuracy", {}, lambda n: (fl(r.ints(2, n, 1)), r.uniform(n, 1)))
    add("binary_accuracy", "BinaryAccuracy", {}, lambda n: (fl(r.ints(2, n, 4)), r.uniform(n, 4)))
    add("binary_accuracy_flat_labels", "BinaryAccuracy", {}, lambda n: (fl(r.ints(2, n)), r.uniform(n, 1)))
    add("binary_accuracy_int_labels", "BinaryAccuracy", {}, lambda n: (r.ints(2, n, 1), r.uniform(n, 1)))
    add("binary_accuracy_threshold", "BinaryAccuracy", {"threshold": 0.3}, lambda n: (fl(r.ints(2, n, 4)), r.uniform(n, 4)))
    add("binary_accuracy_at_threshold", "BinaryAccuracy", {}, lambda n: (fl(r.ints(2, n, 2)), fl(r.ints(3, n, 2)) * 0.25 + 0.25))
    add("binary_accuracy_weights", "BinaryAccuracy", {}, lambda n: (fl(r.ints(2, n, 1)), r.uniform(n, 1)), w)
    add("binary_accuracy_4_weights", "BinaryAccuracy", {}, lambda n: (fl(r.ints(2, n, 4)), r.uniform(n, 4)), w)
    add("binary_accuracy_weights_column", "BinaryAccuracy", {}, lambda n: (fl(r.ints(2, n, 1)), r.uniform(n, 1)), w_col)

    add("categorical_accuracy", "CategoricalAccuracy", {}, lambda n: (r.one_hot(4, n), r.probs(n, 4)))
    add("categorical_accuracy_soft_labels", "CategoricalAccuracy", {}, lambda n: (r.probs(n, 3), r.normal(n, 3)))
    add("categorical_accuracy_3d", "CategoricalAccuracy", {}, lambda n: (r.one_hot(3, n, 2), r.normal(n, 2, 3)))
    add("categorical_accuracy_ties", "CategoricalAccuracy", {}, lambda n: (r.one_hot(3, n), fl(r.ints(2, n, 3)) * 0.5))
    add("categorical_accuracy_weights", "CategoricalAccuracy", {}, lambda n: (r.one_hot(3, n), r.normal(n, 3)), w)

    S = "SparseCategoricalAccuracy"
    add("sparse_accuracy", S, {}, lambda n: (r.ints(3, n), r.probs(n, 3)))
    add("sparse_accuracy_column_labels", S, {}, lambda n: (r.ints(3, n, 1), r.normal(n, 3)))
    add("sparse_accuracy_float_labels", S, {}, lambda n: (fl(r.ints(3, n)), r.normal(n, 3)))
    add("sparse_accuracy_3d", S, {}, lambda n: (r.ints(3, n, 4), r.normal(n, 4, 3)))
    add("sparse_accuracy_ties", S, {}, lambda n: (r.ints(3, n), fl(r.ints(2, n, 3)) * 0.5))  # argmax takes the first
    add("sparse_accuracy_weights", S, {}, lambda n: (r.ints(3, n), r.normal(n, 3)), w)
    add("sparse_accuracy_3d_weights_per_step", S, {}, lambda n: (r.ints(3, n, 4), r.normal(n, 4, 3)), lambda n: r.uniform(n, 4, low=0.1, high=2.0))

    for cls, short in (("MeanSquaredError", "mse"), ("MeanAbsoluteError", "mae")):
        add(short, cls, {}, lambda n: (r.normal(n, 3), r.normal(n, 3)))
        add(f"{short}_column", cls, {}, lambda n: (r.normal(n, 1), r.normal(n, 1)))
        add(f"{short}_flat_labels", cls, {}, lambda n: (r.normal(n), r.normal(n, 1)))
        add(f"{short}_3d", cls, {}, lambda n: (r.normal(n, 2, 3), r.normal(n, 2, 3)))
        add(f"{short}_weights", cls, {}, lambda n: (r.normal(n, 3), r.normal(n, 3)), w)
        add(f"{short}_weights_column", cls, {}, lambda n: (r.normal(n, 3), r.normal(n, 3)), w_col)
    return cases


# ---------------------------------------------------------------- optimizers.json
def run_optimizer(cls, config, initial, grads):
    variables = [keras.Variable(v, name=n, dtype=FLOAT) for v, n in zip(initial, ("a", "b"))]
    opt = getattr(keras.optimizers, cls)(**config)
    after = []
    for step in grads:  # Keras' optimizer.apply: clipping, weight decay, update
        opt.apply([jnp.asarray(g) for g in step], variables)
        after.append([np.array(v.value) for v in variables])
    return after, [(v.path.split("/")[-1], np.array(v.value)) for v in opt.variables]


def optimizer_cases():
    cases = []

    def add(name, cls, config):
        r = Rand(name)
        initial = [r.normal(3, 4), r.normal(5)]
        # Sizes from about 0.02 to 4, so that in every clipping case some steps are clipped and some are not.
        grads = [[r.normal(3, 4, scale=s), r.normal(5, scale=s, shift=0.1 * s)] for s in (0.7, 2.0, 0.05, 1.3, 4.0, 0.3, 0.02, 1.0, 0.15, 0.6)]
        after, state = run_optimizer(cls, config, initial, grads)
        cases.append({"name": name, "optimizer": cls, "config": config, "initial": [arr(a) for a in initial],
                      "grads": [[arr(a) for a in s] for s in grads], "after": [[arr(a) for a in s] for s in after],
                      "state": [{"name": n, "value": arr(a)} for n, a in state]})

    add("sgd", "SGD", {})
    add("sgd_lr", "SGD", {"learning_rate": 0.125})
    add("sgd_momentum", "SGD", {"learning_rate": 0.05, "momentum": 0.9})
    add("sgd_nesterov", "SGD", {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True})
    add("rmsprop", "RMSprop", {})
    add("rmsprop_config", "RMSprop", {"learning_rate": 0.02, "rho": 0.75, "epsilon": 1e-3})
    add("rmsprop_momentum", "RMSprop", {"learning_rate": 0.01, "momentum": 0.7})
    add("rmsprop_centered", "RMSprop", {"learning_rate": 0.01, "centered": True})
    add("rmsprop_momentum_centered", "RMSprop", {"learning_rate": 0.01, "momentum": 0.7, "centered": True})
    add("adam", "Adam", {})
    add("adam_config", "Adam", {"learning_rate": 0.03, "beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-2})
    add("adam_amsgrad", "Adam", {"learning_rate": 0.02, "beta_2": 0.9, "amsgrad": True})
    for short, cls, base in (("sgd", "SGD", {"learning_rate": 0.1}), ("adam", "Adam", {"learning_rate": 0.05})):
        add(f"{short}_weight_decay", cls, {**base, "weight_decay": 0.04})
        add(f"{short}_clipnorm", cls, {**base, "clipnorm": 1.5})
        add(f"{short}_clipvalue", cls, {**base, "clipvalue": 0.5})
        add(f"{short}_global_clipnorm", cls, {**base, "global_clipnorm": 2.0})
        add(f"{short}_weight_decay_clipnorm", cls, {**base, "weight_decay": 0.04, "clipnorm": 1.5})
    add("sgd_nesterov_weight_decay", "SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1})
    return cases


# ---------------------------------------------------------------- initializers.json
def initializer_cases():
    """"mean".."max" are measured over DRAWS draws with Keras' own generator; "limit"/"stddev" are the formulas of its docs."""
    DRAWS = 64
    K = keras.initializers
    TRUNC = 0.87962566103423978  # sd of a unit normal truncated at 2 sd
    todo = [("glorot_uniform", "GlorotUniform", {}), ("glorot_normal", "GlorotNormal", {}), ("he_uniform", "HeUniform", {}),
            ("he_normal", "HeNormal", {}), ("lecun_uniform", "LecunUniform", {}), ("lecun_normal", "LecunNormal", {}),
            ("random_uniform", "RandomUniform", {}), ("random_normal", "RandomNormal", {}), ("truncated_normal", "TruncatedNormal", {}),
            ("orthogonal", "Orthogonal", {}), ("zeros", "Zeros", {}), ("ones", "Ones", {}), ("constant", "Constant", {"value": 0.37}),
            ("identity", "Identity", {})]
    cases = []
    for name, cls, config in todo:
        for shape in ((64, 32), (3, 3, 16, 32)):
            if cls == "Identity" and len(shape) != 2:
                continue  # Keras raises: identity is for 2-D shapes only
            random = cls not in ("Zeros", "Ones", "Constant", "Identity")
            draws = np.stack([np.asarray(getattr(K, cls)(**config, **({"seed": 1000 + i} if random else {}))(shape, dtype="float32"), np.float64)
                              for i in range(DRAWS if random else 1)])
            receptive = int(np.prod(shape[:-2]))
            fan_in, fan_out = shape[-2] * receptive, shape[-1] * receptive
            fan = {"glorot": (fan_in + fan_out) / 2, "he": fan_in / 2, "lecun": fan_in}.get(name.split("_")[0])
            theory = {"fan_in": fan_in, "fan_out": fan_out, "mean": 0.0, "stddev": None, "limit": None, "note": ""}
            if name.endswith("_uniform"):
                theory["limit"] = np.sqrt(3 / fan) if fan else 0.05
                theory["stddev"] = theory["limit"] / np.sqrt(3)
            elif name == "random_normal":
                theory["stddev"] = 0.05
            elif name == "truncated_normal":  # stddev 0.05 is that BEFORE truncation at 2 sd
                theory.update(stddev=0.05 * TRUNC, limit=0.1, note="config stddev 0.05 is before truncation at 2 stddev")
            elif name.endswith("_normal"):  # sd AFTER truncation is sqrt(1/fan)
                theory.update(stddev=np.sqrt(1 / fan), limit=2 * np.sqrt(1 / fan) / TRUNC, note="truncated at 2 * stddev / 0.87962566103423978; stddev is after truncation")
            elif name == "orthogonal":
                q = draws.reshape(DRAWS, -1, shape[-1])
                err = np.abs(np.einsum("nij,nik->njk", q, q) - np.eye(shape[-1])).max()
                assert err < 1e-5
                rows = q.shape[1]
                theory.update(stddev=np.sqrt(1 / rows), note=f"reshaped to ({rows}, {shape[-1]}), Q^T Q = I", max_abs_qtq_minus_identity=float(err))
            elif name == "identity":
                assert (draws[0] == np.eye(*shape)).all()
                theory.update(mean=1 / 64, stddev=float(draws.std()), note="ones on the main diagonal, zeros elsewhere")
            else:
                theory.update(mean=float(draws.flat[0]), stddev=0.0)
            for k in ("stddev", "limit"):
                theory[k] = None if theory[k] is None else float(theory[k])
            if random:
                assert abs(draws.std() - theory["stddev"]) < 0.01 * theory["stddev"], name
                assert abs(draws.mean()) < 5 * theory["stddev"] / np.sqrt(draws.size), name
                assert theory["limit"] is None or np.abs(draws).max() <= theory["limit"] * (1 + 1e-6), name
            cases.append({"name": f"{name}_{len(shape)}d", "initializer": name, "class": cls, "config": config, "shape": list(shape),
                          "values": int(draws.size), "mean": float(draws.mean()), "std": float(draws.std()),
                          "min": float(draws.min()), "max": float(draws.max()), "theory": theory})
    return cases


# ---------------------------------------------------------------- train_*.json, fit_partial.json
MODELS = {
    "mlp": {
        "input_shape": [6], "input_dtype": "f32",
        "layers": [{"layer": "Dense", "config": {"units": 16, "activation": "relu"}}, {"layer": "Dense", "config": {"units": 8, "activation": "tanh"}},
                   {"layer": "Dense", "config": {"units": 4}}]},
    "cnn": {
        "input_shape": [10, 10, 2], "input_dtype": "f32",
        "layers": [{"layer": "Conv2D", "config": {"filters": 6, "kernel_size": 3, "activation": "relu"}}, {"layer": "BatchNormalization", "config": {}},
                   {"layer": "MaxPooling2D", "config": {"pool_size": 2}}, {"layer": "Conv2D", "config": {"filters": 8, "kernel_size": 3, "padding": "same"}},
                   {"layer": "Activation", "config": {"activation": "relu"}}, {"layer": "AveragePooling2D", "config": {"pool_size": 2}},
                   {"layer": "Flatten", "config": {}}, {"layer": "Dense", "config": {"units": 5, "activation": "softmax"}}]},
    "lstm": {
        "input_shape": [9], "input_dtype": "i32",
        "layers": [{"layer": "Embedding", "config": {"input_dim": 20, "output_dim": 6}}, {"layer": "LSTM", "config": {"units": 7, "return_sequences": True}},
                   {"layer": "LSTM", "config": {"units": 5}}, {"layer": "Dense", "config": {"units": 1, "activation": "sigmoid"}}]},
}
TRAIN = {
    "mlp": ({"optimizer": "Adam", "config": {"learning_rate": 0.02}}, {"loss": "SparseCategoricalCrossentropy", "config": {"from_logits": True}}),
    "cnn": ({"optimizer": "SGD", "config": {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}}, {"loss": "SparseCategoricalCrossentropy", "config": {}}),
    "lstm": ({"optimizer": "RMSprop", "config": {"learning_rate": 0.01}}, {"loss": "BinaryCrossentropy", "config": {}}),
}


def build_model(description, optimizer, loss, weights=None):
    keras.utils.clear_session()  # layer names count from the start: dense, dense_1
    dtype = {"f32": FLOAT, "i32": "int32"}[description["input_dtype"]]
    stack = [keras.Input(tuple(description["input_shape"]), dtype=dtype)]
    stack += [getattr(keras.layers, l["layer"])(**l["config"]) for l in description["layers"]]
    model = keras.Sequential(stack)
    model.compile(optimizer=getattr(keras.optimizers, optimizer["optimizer"])(**optimizer["config"]),
                  loss=getattr(keras.losses, loss["loss"])(**loss["config"]), metrics=["accuracy"])
    if weights is not None:
        model.set_weights(weights)
    return model


def initial_weights(model, r):
    """Generic values of about Keras' own size; biases and moving statistics are not at their defaults."""
    out = []
    for v in model.weights:
        shape = tuple(v.shape)
        if v.name == "gamma":
            out.append(r.normal(*shape, scale=0.2, shift=1.0))
        elif v.name == "moving_variance":
            out.append(r.uniform(*shape, low=0.6, high=1.5))
        elif v.name == "embeddings":
            out.append(r.normal(*shape, scale=0.5))
        elif len(shape) == 1:
            out.append(r.normal(*shape, scale=0.1))
        else:
            out.append(r.normal(*shape, scale=1.2 / np.sqrt(np.prod(shape[:-1]))))
    return out


def train_data(name, r, n):
    """Labels depend on x, so that the loss falls."""
    if name == "mlp":
        x = r.normal(n, 6)
        return x, np.argmax(x @ TEACHER["mlp"], -1).astype("int32")
    if name == "cnn":
        x = np.round(r.normal(n, 10, 10, 2), 2)
        y = r.ints(5, n)
        for i, label in enumerate(y):  # class k: a brighter band of rows
            x[i, 2 * label:2 * label + 2, :, 0] += 1.5
        return np.round(x, 2).astype(FLOAT), y
    x = r.ints(20, n, 9)
    return x, (x[:, -4:].mean(-1, keepdims=True) > 9.5).astype(FLOAT)


TEACHER = {"mlp": Rand("teacher").normal(6, 4)}


def run_training(name, batches, weights):
    model = build_model(MODELS[name], *TRAIN[name], weights)
    losses, accuracy = [], []
    for x, y in batches:
        # Keras 3.15 resets the metrics inside train_on_batch, so these are values of this batch alone,
        # from the forward pass before the update.
        logs = model.train_on_batch(x, y, return_dict=True)
        losses.append(logs["loss"])
        accuracy.append(logs["accuracy"])
    return model, losses, accuracy


def train_file(name):
    r = Rand("train_" + name)
    weights = initial_weights(build_model(MODELS[name], *TRAIN[name]), r)
    batches = [train_data(name, r, 8) for _ in range(10)]
    model, losses, accuracy = run_training(name, batches, weights)
    assert np.mean(losses[5:]) < np.mean(losses[:5]), (name, losses)
    optimizer, loss = TRAIN[name]
    write(f"train_{name}.json", model=MODELS[name], optimizer=optimizer, loss=loss, metrics=["accuracy"],
          metric_class=type(model.metrics[1].metrics[0]).__name__,  # what "accuracy" became
          weight_names=["/".join(v.path.split("/")[-2:]) for v in model.weights], trainable=[bool(v.trainable) for v in model.weights],
          losses=[num(v) for v in losses], accuracy=[num(v) for v in accuracy],
          initial_weights=[arr(w) for w in weights], final_weights=[arr(w) for w in model.get_weights()],
          batches=[{"x": arr(x), "y": arr(y)} for x, y in batches])


FIT = {"batch_size": 8, "epochs": 2, "shuffle": False, "validation_split": 0.25}


def run_fit(x, y, weights):
    model = build_model(MODELS["mlp"], *TRAIN["mlp"], weights)
    per_epoch = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: per_epoch.append(model.get_weights()))
    history = model.fit(x, y, verbose=0, callbacks=[keep], **FIT).history
    return model, history, per_epoch


def fit_file():
    r = Rand("fit_partial")
    weights = initial_weights(build_model(MODELS["mlp"], *TRAIN["mlp"]), r)
    x, y = train_data("mlp", r, 20)
    model, history, per_epoch = run_fit(x, y, weights)
    evaluate = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    optimizer, loss = TRAIN["mlp"]
    write("fit_partial.json", model=MODELS["mlp"], optimizer=optimizer, loss=loss, metrics=["accuracy"], fit=FIT,
          x=arr(x), y=arr(y), initial_weights=[arr(w) for w in weights],
          weights_after_epoch=[[arr(w) for w in e] for e in per_epoch], final_weights=[arr(w) for w in model.get_weights()],
          history={k: [num(v) for v in h] for k, h in sorted(history.items())},
          predict={"batch_size": 8, "output": arr(model.predict(x, batch_size=8, verbose=0))},
          evaluate={"batch_size": 8, **{k: num(v) for k, v in evaluate.items()}})


# ---------------------------------------------------------------- --check
def load(name):
    with open(f"{OUT}/{name}") as f:
        return json.load(f)


def worst(a, b):
    """Largest |a - b| / (1 + |b|)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    return float((np.abs(a - b) / (1 + np.abs(b))).max()) if a.size else 0.0


def check():
    """The same Keras calls in float64 (so f32 rounding, ties and corners show), and central differences in float64."""
    bad = []

    def report(file, name, what, err, limit):
        if not err < limit:
            bad.append((file, name, what, err))
        seen.setdefault((file, what), []).append((err, name))

    seen = {}
    for c in load("layers.json")["cases"]:
        inputs, weights, upstream = [back(a) for a in c["inputs"]], [back(a) for a in c["weights"]], back(c["upstream"])
        got = run_layer(c["layer"], c["config"], c["training"], inputs, weights, upstream)
        big = 2e-3 if "large_mean" in c["name"] else 2e-5
        report("layers", c["name"], "output", worst(back(c["output"]), got["output"]), big)
        for key in ("input_grads", "weight_grads"):
            for a, b in zip(c[key], got[key]):
                assert (a is None) == (b is None), c["name"]
                if a is not None:
                    report("layers", c["name"], key, worst(back(a), b), big)
        for a, b in zip(c["weights_after"] or [], got["weights_after"]):
            report("layers", c["name"], "weights_after", worst(back(a), b), big)
        if c["name"].endswith(("_kink", "_ties")):
            continue
        rng = np.random.default_rng(1)
        flat, tree = jax.tree_util.tree_flatten((got["trainable"], got["xs"]))
        grads = jax.tree_util.tree_leaves(got["g"])
        for _ in range(3):
            d = [rng.normal(size=p.shape) for p in flat]
            h = 1e-6
            f = lambda s: float(got["f"](*jax.tree_util.tree_unflatten(tree, [p + s * h * q for p, q in zip(flat, d)])))
            want = sum(float(jnp.sum(g * q)) for g, q in zip(grads, d))
            scale = sum(float(jnp.sum(jnp.abs(g * q))) for g, q in zip(grads, d))
            if flat:
                report("layers", c["name"], "finite difference", abs((f(1) - f(-1)) / (2 * h) - want) / (1e-3 + scale), 1e-5)
    for c in load("losses.json")["cases"]:
        t, p, w = back(c["y_true"]), back(c["y_pred"]), back(c["sample_weight"])
        value, grad, f = run_loss(c["loss"], c["config"], t, p, w)
        exact = c["name"].endswith("exact_0_1")  # f32 clips at 1 - 2^-23, f64 at 1 - 1e-7
        report("losses", c["name"], "value (exact_0_1)" if exact else "value", worst(c["value"], value), 1e-2 if exact else 1e-5)
        report("losses", c["name"], "grad", worst(back(c["grad"]), grad), 1e-5)
        if not exact and not c["name"].endswith("_kink"):
            d = np.random.default_rng(1).normal(size=p.shape)
            fd = (float(f(p + 1e-6 * d)) - float(f(p - 1e-6 * d))) / 2e-6
            report("losses", c["name"], "finite difference", abs(fd - float(jnp.sum(grad * d))) / (1e-3 + float(jnp.sum(jnp.abs(grad * d)))), 1e-5)
    for c in load("metrics.json")["cases"]:
        batches = [(back(b["y_true"]), back(b["y_pred"]), back(b["sample_weight"])) for b in c["batches"]]
        report("metrics", c["name"], "results", worst(c["results"], run_metric(c["metric"], c["config"], batches)), 1e-6)
        if "accuracy" in c["name"]:
            assert all(0 <= v <= 1 for v in c["results"])
            assert "zero_first" in c["name"] or len(set(c["results"])) > 1, c["name"]
    for c in load("optimizers.json")["cases"]:
        after, state = run_optimizer(c["optimizer"], c["config"], [back(a) for a in c["initial"]], [[back(a) for a in s] for s in c["grads"]])
        report("optimizers", c["name"], "after", max(worst(back(a), b) for s, t in zip(c["after"], after) for a, b in zip(s, t)), 1e-4)
        first = [(back(a) - back(i), b - back(i)) for a, b, i in zip(c["after"][0], after[0], c["initial"])]
        report("optimizers", c["name"], "first step, relative", max(float(np.abs(a / b - 1).max()) for a, b in first), 1e-2)
        report("optimizers", c["name"], "state", max(worst(back(a["value"]), b) for a, (_, b) in zip(c["state"], state)), 1e-4)
        norms = [[float(np.sqrt((back(a) ** 2).sum())) for a in s] for s in c["grads"]]
        if "clipnorm" in c["config"]:
            assert 0 < sum(n > c["config"]["clipnorm"] for s in norms for n in s) < 20
    for name in ("mlp", "cnn", "lstm"):
        d = load(f"train_{name}.json")
        batches = [(back(b["x"]), back(b["y"])) for b in d["batches"]]
        model, losses, accuracy = run_training(name, batches, [back(w) for w in d["initial_weights"]])
        report("train_" + name, "", "losses", worst(d["losses"], losses), 1e-4)
        report("train_" + name, "", "accuracy", worst(d["accuracy"], accuracy), 1e-6)
        for n, a, b in zip(d["weight_names"], d["final_weights"], model.get_weights()):
            report("train_" + name, n, "final_weights", worst(back(a), b), 1e-3)
    d = load("fit_partial.json")
    model, history, _ = run_fit(back(d["x"]), back(d["y"]), [back(w) for w in d["initial_weights"]])
    for k, v in d["history"].items():
        report("fit_partial", k, "history", worst(v, history[k]), 1e-5)
    report("fit_partial", "", "predict", worst(back(d["predict"]["output"]), model.predict(back(d["x"]), verbose=0)), 1e-4)
    for (file, what), errs in seen.items():
        err, name = max(errs)
        print(f"{file:12} {what:24} {len(errs):4} compared, worst {err:.2e}  {name}")
    for b in bad:
        print("BAD", *b)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    if CHECK:
        check()
    write("layers.json", layer_cases())
    write("losses.json", loss_cases())
    write("metrics.json", metric_cases())
    write("optimizers.json", optimizer_cases())
    write("initializers.json", initializer_cases())
    for model_name in MODELS:
        train_file(model_name)
    fit_file()
