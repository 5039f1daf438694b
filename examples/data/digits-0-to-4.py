"""Makes digits-0-to-4.keras, which examples/transfer.rs starts from: a CNN that Keras trained to tell the digits 0 to 4 apart.

    python digits-0-to-4.py        # keras 3, any backend; reads ../../crates/data/mnist-5k
"""
import gzip
from pathlib import Path

import keras, numpy as np
from keras import layers as L

HERE = Path(__file__).parent
keras.utils.set_random_seed(0)


def read(name, header):
    data = np.frombuffer(gzip.decompress((HERE / f"../../crates/data/mnist-5k/{name}-ubyte.gz").read_bytes()), "u1")
    return data[header:]


def digits(part):
    x, y = read(f"{part}-images-idx3", 16).reshape(-1, 28, 28, 1), read(f"{part}-labels-idx1", 8)
    return x[y < 5].astype("f4") / 255, y[y < 5].astype("i4")


image = keras.Input((28, 28, 1), name="image")
x = L.MaxPooling2D()(L.Conv2D(16, 3, activation="relu")(image))
x = L.MaxPooling2D()(L.Conv2D(32, 3, activation="relu")(x))
features = L.Dense(48, activation="relu", name="features")(L.Dropout(0.3)(L.Flatten()(x)))
model = keras.Model(image, L.Dense(5, activation="softmax", name="digit")(features), name="digits_0_to_4")
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(*digits("train"), batch_size=32, epochs=8, verbose=2)
print("accuracy on held-out digits 0 to 4:", model.evaluate(*digits("t10k"), verbose=0)[1])
# Without the state of the optimizer, which is twice the weights.
keras.Model(model.inputs, model.outputs, name=model.name).save(HERE / "digits-0-to-4.keras")
