"""Makes lengths.json with real Keras 3 on JAX (CPU): training of models whose inputs have axes of any length, on batches of several lengths.

    python generate_lengths.py

The models are written out again in trajectories.rs.
"""
import generate as g
import keras
from generate_trajectories import case
from keras import layers as L


def tokens():
    i = keras.Input((None,), dtype="int32")
    x = L.Bidirectional(L.LSTM(3, return_sequences=True))(L.Embedding(12, 4, mask_zero=True)(i))
    return keras.Model(i, L.Dense(1, "sigmoid")(L.GRU(4)(x)))


def signal():
    i = keras.Input((None, 3))
    x = L.MaxPooling1D(2)(L.Conv1D(4, 3, activation="relu")(i))
    x = L.SimpleRNN(4, return_sequences=True)(L.TimeDistributed(L.Dense(5, "tanh"))(x))
    return keras.Model(i, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def steps():
    i = keras.Input((None, 4))
    x = L.LayerNormalization()(i + L.MultiHeadAttention(2, 3)(i, i))
    return keras.Model(i, L.Dense(3, "softmax")(x))


def pair():
    a, b = keras.Input((None, 4)), keras.Input((None, 4))
    x = L.Concatenate(axis=1)([L.Attention()([a, b]), b])
    return keras.Model([a, b], L.Dense(1)(L.GlobalMaxPooling1D()(x)))


def image():
    i = keras.Input((None, None, 2))
    x = L.UpSampling2D(2)(L.Conv2D(3, 3, strides=2, padding="same")(i))
    x = L.Reshape((-1, 3))(L.ZeroPadding2D(1)(x))
    return keras.Model(i, L.Dense(2)(L.GlobalMaxPooling1D()(x)))


class Lengths:
    """The next length of a batch, and another."""

    def __init__(self):
        self.at = 0

    def next(self):
        self.at += 1
        return [7, 4, 9, 1][self.at % 4], [5, 6, 2, 4][self.at % 4]


def cases():
    adam = (keras.optimizers.Adam, {"learning_rate": 0.01})
    sizes = Lengths()

    def words(r, n):
        x = r.ints(11, n, sizes.next()[0]) + 1
        x[0, 3:] = 0
        x[1, :1] = 0
        return [x], [r.ints(2, n, 1).astype(g.FLOAT)]

    def labelled(r, n):
        length = sizes.next()[0]
        return [r.normal(n, length, 4)], [r.ints(3, n, length)]

    def two(r, n):
        a, b = sizes.next()
        return [r.normal(n, a, 4), r.normal(n, b, 4)], [r.normal(n, 1)]

    def pixels(r, n):
        a, b = sizes.next()
        return [r.normal(n, a, b, 2)], [r.normal(n, 2)]

    return [
        ("tokens", tokens, *adam, ["binary_crossentropy"], words),
        ("signal", signal, *adam, ["mean_squared_error"], lambda r, n: ([r.normal(n, sizes.next()[0] + 3, 3)], [r.normal(n, 2)])),
        ("steps", steps, *adam, ["sparse_categorical_crossentropy"], labelled),
        ("pair", pair, *adam, ["mean_squared_error"], two),
        ("image", image, *adam, ["mean_absolute_error"], pixels),
    ]


if __name__ == "__main__":
    g.write("lengths.json", [case(*c, steps=8, shapes=True) for c in cases()])
