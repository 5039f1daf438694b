"""Makes trajectories.json with real Keras 3 on JAX (CPU): twenty training steps of six models, from given weights on given batches.

    python generate_trajectories.py

The models are written out again in trajectories.rs. Weights stand in the order of `model.weights`.
"""
import generate as g
import keras
import numpy as np
from keras import layers as L

STEPS = 20


def mlp():
    i = keras.Input((6,))
    return keras.Model(i, L.Dense(1)(L.Dense(8, "tanh")(L.Dense(8, "relu")(i))))


def cnn():
    i = keras.Input((8, 8, 2))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(i)))
    x = L.BatchNormalization(momentum=0.9)(L.Conv2D(6, 3, strides=2)(L.MaxPooling2D(2)(x)))
    return keras.Model(i, L.Dense(3, "softmax")(L.Flatten()(x)))


def lstm():
    i = keras.Input((7,), dtype="int32")
    return keras.Model(i, L.Dense(1, "sigmoid")(L.LSTM(5)(L.Embedding(12, 4, mask_zero=True)(i))))


def gru():
    i = keras.Input((6, 3))
    x = L.GRU(4, return_sequences=True)(i)
    return keras.Model(i, L.Dense(2)(L.GRU(5)(x)))


def residual():
    a, b = keras.Input((4, 4, 3)), keras.Input((5,))
    shared = L.Conv2D(3, 3, padding="same", activation="relu")
    x = L.Add()([a, shared(shared(a))])
    x = L.GlobalAveragePooling2D()(x)
    x = L.Concatenate()([x, L.Dense(4, "relu")(b)])
    return keras.Model([a, b], [L.Dense(3, "softmax", name="kind")(x), L.Dense(1, name="size")(x)])


def attention():
    i = keras.Input((5, 8))
    x = L.LayerNormalization()(i + L.MultiHeadAttention(2, 4)(i, i))
    x = L.LayerNormalization()(x + L.Dense(8)(L.Dense(12, "gelu")(x)))
    return keras.Model(i, L.Dense(3, "softmax")(L.GlobalAveragePooling1D()(x)))


def tokens(r, n):
    """Numbers from 1, and zeros at the end, in the middle and everywhere."""
    x = r.ints(11, n, 7) + 1
    x[0, 4:] = 0
    x[1, 2] = 0
    x[2, :3] = 0
    return x


CASES = [
    ("mlp", mlp, keras.optimizers.Adam, {"learning_rate": 0.01}, ["mean_squared_error"],
     lambda r, n: ([r.normal(n, 6)], [r.normal(n, 1)])),
    ("cnn", cnn, keras.optimizers.SGD, {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}, ["sparse_categorical_crossentropy"],
     lambda r, n: ([r.normal(n, 8, 8, 2)], [r.ints(3, n)])),
    ("lstm", lstm, keras.optimizers.RMSprop, {"learning_rate": 0.01}, ["binary_crossentropy"],
     lambda r, n: ([tokens(r, n)], [r.ints(2, n, 1).astype(g.FLOAT)])),
    ("gru", gru, keras.optimizers.Adam, {"learning_rate": 0.01}, ["mean_absolute_error"],
     lambda r, n: ([r.normal(n, 6, 3)], [r.normal(n, 2)])),
    ("residual", residual, keras.optimizers.AdamW, {"learning_rate": 0.01}, ["sparse_categorical_crossentropy", "mean_squared_error"],
     lambda r, n: ([r.normal(n, 4, 4, 3), r.normal(n, 5)], [r.ints(3, n), r.normal(n, 1)])),
    ("attention", attention, keras.optimizers.Adam, {"learning_rate": 0.005}, ["sparse_categorical_crossentropy"],
     lambda r, n: ([r.normal(n, 5, 8)], [r.ints(3, n)])),
]


def case(name, build, optimizer, config, losses, draw, steps=STEPS, shapes=False):
    keras.utils.clear_session()
    r = g.Rand("trajectory_" + name)
    keras.utils.set_random_seed(1)
    model = build()
    # Rounded as all inputs are; moving variances stay positive.
    model.set_weights([np.round(w, 4) for w in model.get_weights()])
    initial = [g.arr(w) for w in model.get_weights()]
    model.compile(optimizer(**config), losses if len(losses) > 1 else losses[0])
    batches, values = [], []
    for _ in range(4):
        xs, ys = draw(r, 8)
        batches.append({"inputs": [g.arr(x) for x in xs], "targets": [g.arr(y) for y in ys]})
        batches[-1]["raw"] = (xs, ys)
    for step in range(steps):
        xs, ys = batches[step % 4]["raw"]
        one = lambda v: v if len(v) > 1 else v[0]
        values.append(g.num(model.train_on_batch(one(xs), one(ys), return_dict=True)["loss"]))
    for b in batches:
        del b["raw"]
    return {"name": name, "optimizer": optimizer.__name__, "config": config, "losses": losses, "names": [w.path for w in model.weights],
            **({"shapes": [str(l.output.shape) for l in model.layers if not isinstance(l, L.InputLayer)]} if shapes else {}),
            "initial_weights": initial, "batches": batches, "values": values, "final_weights": [g.arr(w) for w in model.get_weights()]}


if __name__ == "__main__":
    g.write("trajectories.json", [case(*c) for c in CASES])
