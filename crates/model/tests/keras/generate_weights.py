"""Writes weights/: files of weights that Keras made, with inputs and predictions. See README.md."""

import json
import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights")
rng = np.random.default_rng(5)


def randomize(model):
    """Numbers that are nowhere equal, so that a swap shows."""
    for w in model.weights:
        if w.dtype == "float32":
            low = 0.5 if "variance" in w.path else -0.5
            w.assign(rng.uniform(low, low + 1, w.shape))
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            # It computes with copies.
            layer.finalize_state()


def write(name, model, x, legacy=False):
    randomize(model)
    y = model.predict(x, verbose=0)
    model.save_weights(os.path.join(here, f"{name}.weights.h5"))
    if legacy:
        model.save(os.path.join(here, f"{name}.h5"))
    with open(os.path.join(here, f"{name}.json"), "w") as file:
        json.dump({"x": np.round(x, 3).ravel().tolist(), "y": y.ravel().tolist()}, file)


def inputs(*shape):
    return np.round(rng.normal(size=shape), 3).astype("float32")


recurrent = keras.Sequential([
    keras.Input((5, 3)),
    layers.RNN([layers.LSTMCell(4), layers.GRUCell(3), layers.GRUCell(2)], return_sequences=True),
    layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
    layers.TimeDistributed(layers.Dense(2)),
    layers.GRU(3, reset_after=False, return_sequences=True),
    layers.Bidirectional(layers.RNN(layers.StackedRNNCells([layers.SimpleRNNCell(2), layers.SimpleRNNCell(3)]))),
    layers.Dense(2),
])
write("recurrent", recurrent, inputs(3, 5, 3))

normalization = layers.Normalization()
normalization.adapt(rng.normal(size=(16, 6, 4)).astype("float32"))
x = keras.Input((6, 4))
h = layers.Dense(3, activation="relu", trainable=False)(layers.BatchNormalization()(x))
inner = keras.Model(x, keras.Sequential([keras.Input((6, 3)), layers.Dense(4), layers.PReLU(shared_axes=[1])])(h))
x = keras.Input((6, 4), name="steps")
h = normalization(x)
h = layers.Add()([h, layers.MultiHeadAttention(2, 3)(h, h)])
h = layers.LayerNormalization()(inner(h) + h)
h = layers.Attention(use_scale=True)([h, h])
h = layers.GlobalAveragePooling1D()(h)
outputs = [layers.Dense(2, name="first")(h), layers.Dense(1, name="second")(h)]
nested = keras.Model(x, layers.Concatenate()(outputs))
write("nested", nested, inputs(3, 6, 4), legacy=True)

space = keras.Sequential([
    keras.Input((6, 6, 3)),
    layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2),
    layers.GroupNormalization(2),
    layers.Conv2DTranspose(3, 2, strides=2),
    layers.DepthwiseConv2D(2),
    layers.BatchNormalization(scale=False),
    layers.RMSNormalization(),
    layers.Dropout(0.2),
    layers.Flatten(),
    layers.Dense(2),
])
write("space", space, inputs(2, 6, 6, 3))
