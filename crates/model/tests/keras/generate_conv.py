"""Makes space.json, conv.json and train_conv.json with real Keras 3 on JAX (CPU): convolutions, poolings and what else changes space.

    python generate_conv.py           # writes the three files beside this one, in about 2 minutes

Numbers and helpers as in generate.py. Schema: README.md.
"""
import generate as g
import jax
import jax.numpy as jnp
import keras
import numpy as np

SPACE = {1: (7,), 2: (5, 4), 3: (3, 4, 3)}
L2 = {"class_name": "L2", "config": {"l2": 0.02}}
L1 = {"class_name": "L1", "config": {"l1": 0.01}}


def adder(out):
    def add(name, cls, config, shape):
        x = g.Rand(name + ".x").normal(*shape)
        if "Max" in cls:  # no two values alike, so no ties
            x = ((g.Rand(name).g.permutation(x.size) - x.size * 0.7) / 16).reshape(shape).astype(g.FLOAT)
        out.append(g.layer_case(name, cls, config, x))
    return add


def space_cases():
    out = []
    add = adder(out)
    for n, space in SPACE.items():
        shape = (2 if n < 3 else 1, *space, 2)
        for kind in ("Max", "Average"):
            name, cls = f"global_{kind.lower()}_pool_{n}d", f"Global{kind}Pooling{n}D"
            add(name, cls, {}, shape)
            add(name + "_keepdims", cls, {"keepdims": True}, shape)
            if n != 2:
                name, cls = f"{kind.lower()}_pool_{n}d", f"{kind}Pooling{n}D"
                add(name, cls, {"pool_size": 2}, shape)
                add(name + "_3_strides2_same", cls, {"pool_size": 3, "strides": 2, "padding": "same"}, shape)
                add(name + "_2_strides1", cls, {"pool_size": 2, "strides": 1}, (1, *space, 3))
        add(f"zero_padding_{n}d", f"ZeroPadding{n}D", {}, shape)
        add(f"cropping_{n}d", f"Cropping{n}D", {}, shape)
        uneven = [[2, 0], [0, 1], [1, 1]][:n] if n > 1 else [2, 0]
        add(f"zero_padding_{n}d_uneven", f"ZeroPadding{n}D", {"padding": uneven}, shape)
        add(f"cropping_{n}d_uneven", f"Cropping{n}D", {"cropping": uneven}, shape)
        if n > 1:
            add(f"zero_padding_{n}d_each", f"ZeroPadding{n}D", {"padding": [1, 2, 0][:n]}, shape)
            add(f"cropping_{n}d_each", f"Cropping{n}D", {"cropping": [0, 1, 1][:n]}, shape)
        add(f"up_sampling_{n}d", f"UpSampling{n}D", {}, (1, *space, 2))
        add(f"up_sampling_{n}d_uneven", f"UpSampling{n}D", {"size": [3, 1, 2][:n] if n > 1 else 3}, (1, *space, 2))
    add("up_sampling_2d_bilinear", "UpSampling2D", {"interpolation": "bilinear"}, (2, 4, 3, 2))
    add("up_sampling_2d_bilinear_3x2", "UpSampling2D", {"size": [3, 2], "interpolation": "bilinear"}, (1, 3, 5, 2))
    add("up_sampling_2d_bilinear_4x1", "UpSampling2D", {"size": [4, 1], "interpolation": "bilinear"}, (2, 1, 3, 2))
    add("permute_2", "Permute", {"dims": [2, 1]}, (2, 3, 4))
    add("permute_3", "Permute", {"dims": [3, 1, 2]}, (2, 3, 4, 2))
    add("repeat_vector", "RepeatVector", {"n": 3}, (2, 4))
    return out


def conv_cases():
    out = []
    add = adder(out)
    c = lambda **k: {"filters": 4, "kernel_size": 3, **k}
    add("conv_1d", "Conv1D", c(), (2, 7, 3))
    add("conv_1d_same_strides2", "Conv1D", c(padding="same", strides=2, activation="tanh"), (2, 8, 3))
    add("conv_1d_causal", "Conv1D", c(padding="causal"), (2, 6, 3))
    add("conv_1d_causal_dilation2", "Conv1D", c(padding="causal", dilation_rate=2, use_bias=False), (2, 7, 2))
    add("conv_1d_causal_strides2_even_kernel", "Conv1D", c(padding="causal", strides=2, kernel_size=4), (1, 9, 2))
    add("conv_1d_dilation3_same", "Conv1D", c(padding="same", dilation_rate=[3]), (2, 9, 2))
    add("conv_1d_groups2", "Conv1D", c(groups=2, activation="relu"), (2, 6, 4))
    add("conv_1d_kernel1", "Conv1D", c(kernel_size=1), (2, 5, 3))
    add("conv_2d_regularized", "Conv2D", c(kernel_regularizer=L2, bias_regularizer=L1, activity_regularizer=L2,
                                           kernel_constraint={"class_name": "NonNeg", "config": {}}), (2, 5, 5, 2))
    add("conv_3d", "Conv3D", c(kernel_size=2), (2, 3, 3, 2, 2))
    add("conv_3d_same_strides2", "Conv3D", c(padding="same", strides=2, filters=2), (1, 5, 4, 3, 2))
    add("conv_3d_3x1x2_strides_1x2x1", "Conv3D", c(kernel_size=[3, 1, 2], strides=[1, 2, 1], activation="sigmoid"), (1, 4, 5, 3, 2))
    add("conv_3d_groups2", "Conv3D", c(kernel_size=2, groups=2, use_bias=False), (1, 4, 4, 3, 4))
    add("conv_3d_dilation2", "Conv3D", c(kernel_size=2, dilation_rate=2, padding="same"), (1, 4, 4, 3, 2))

    for n, space in {1: (5,), 2: (3, 4), 3: (2, 3, 2)}.items():
        t = lambda name, cls=f"Conv{n}DTranspose", **k: add(f"conv_{n}d_transpose_{name}", cls, {"filters": 3, "kernel_size": 3, **k}, (1, *space, 2))
        t("valid")
        t("same", padding="same", activation="tanh")
        t("strides2", strides=2)
        t("strides2_same", strides=2, padding="same")
        if n == 3:
            continue
        t("kernel2_strides3", kernel_size=2, strides=3)
        t("kernel2_strides3_same", kernel_size=2, strides=3, padding="same", use_bias=False)
        t("kernel4_strides2_same", kernel_size=4, strides=2, padding="same")
        t("dilation2", dilation_rate=2)
        t("dilation2_same", dilation_rate=2, padding="same")
        for kernel in (2, 3):
            for padding in ("valid", "same"):
                for more in (0, 1):
                    t(f"kernel{kernel}_{padding}_more{more}", kernel_size=kernel, strides=2, padding=padding, output_padding=more)
    add("conv_2d_transpose_strides_3x2_more_2x0", "Conv2DTranspose",
        {"filters": 2, "kernel_size": [3, 2], "strides": [3, 2], "output_padding": [2, 0], "padding": "same"}, (2, 3, 4, 3))

    for n in (1, 2):
        space = SPACE[n]
        d = lambda name, cls, **k: add(f"{name}_{n}d" + "".join(f"_{v}" for v in k.values()), f"{cls}{n}D", k, (2, *space, 3))
        d("depthwise", "DepthwiseConv", kernel_size=3)
        d("depthwise", "DepthwiseConv", kernel_size=2, depth_multiplier=2, padding="same", activation="relu")
        d("depthwise", "DepthwiseConv", kernel_size=3, strides=2, padding="same", use_bias=False)
        d("depthwise", "DepthwiseConv", kernel_size=2, dilation_rate=2)
        d("separable", "SeparableConv", filters=4, kernel_size=3)
        d("separable", "SeparableConv", filters=2, kernel_size=3, depth_multiplier=2, padding="same", activation="tanh")
        d("separable", "SeparableConv", filters=3, kernel_size=2, strides=2, padding="same", use_bias=False)
        d("separable", "SeparableConv", filters=2, kernel_size=2, dilation_rate=2)
    return out


def masked():
    """The mean of the steps that count, and its gradient."""
    r = g.Rand("global_average_pool_masked")
    x, upstream = r.normal(3, 5, 2), r.normal(3, 2)
    mask = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    layer = keras.layers.GlobalAveragePooling1D()
    f = lambda x: jnp.sum(layer(x, mask=jnp.asarray(mask)) * upstream)
    return {"x": g.arr(x), "mask": g.arr(mask.astype(g.FLOAT)), "output": g.arr(layer(x, mask=jnp.asarray(mask))), "upstream": g.arr(upstream),
            "grad": g.arr(jax.grad(f)(jnp.asarray(x)))}


g.MODELS["conv"] = {
    "input_shape": [6, 6, 2], "input_dtype": "f32",
    "layers": [
        {"layer": "Conv2D", "config": {"filters": 6, "kernel_size": 3, "padding": "same", "activation": "relu", "kernel_regularizer": L2, "bias_regularizer": L1,
                                       "activity_regularizer": L2, "kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 0.9, "axis": [0, 1, 2]}}}},
        {"layer": "DepthwiseConv2D", "config": {"kernel_size": 3, "strides": 2, "padding": "same", "depthwise_regularizer": L1,
                                                "depthwise_constraint": {"class_name": "MaxNorm", "config": {"max_value": 0.9, "axis": [0, 1]}}}},
        {"layer": "Conv2DTranspose", "config": {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu", "kernel_regularizer": L2}},
        {"layer": "SeparableConv2D", "config": {"filters": 6, "kernel_size": 3, "activation": "tanh", "depthwise_regularizer": L2, "pointwise_regularizer": L1,
                                                "activity_regularizer": L1}},
        {"layer": "GlobalAveragePooling2D", "config": {}}, {"layer": "Dense", "config": {"units": 3}}]}
g.TRAIN["conv"] = ({"optimizer": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.9}},
                   {"loss": "SparseCategoricalCrossentropy", "config": {"from_logits": True}})


def train_data(name, r, n):
    """Class k: a brighter band of rows."""
    x, y = r.normal(n, 6, 6, 2), r.ints(3, n)
    for i, label in enumerate(y):
        x[i, 2 * label:2 * label + 2] += 1.5
    return np.round(x, 2).astype(g.FLOAT), y


if __name__ == "__main__":
    g.train_data = train_data
    g.write("space.json", space_cases(), masked=masked())
    g.write("conv.json", conv_cases())
    g.train_file("conv")
