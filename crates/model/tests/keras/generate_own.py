"""Writes files/own.json: architectures as `model.to_json()` gives them, compiled with losses and metrics of the user's, or with some that Ibex refuses.

    KERAS_BACKEND=jax python generate_own.py
"""
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import json
import pathlib

import keras
from keras import layers, losses, metrics


def my_loss(y_true, y_pred):
    return abs(y_true - y_pred)


@keras.saving.register_keras_serializable("mine")
class MeanSquaredError(losses.Loss):
    """Another one than Keras's of that name."""

    def call(self, y_true, y_pred):
        return 2 * abs(y_true - y_pred)


class AUC(metrics.Mean):
    """Another one than Keras's of that name, which is not registered."""


class Huber(losses.Loss):
    """Another one than Keras's of that name, of a module that a program imports."""

    def call(self, y_true, y_pred):
        return 3 * abs(y_true - y_pred)


Huber.__module__ = "my_losses"


def compiled(loss, metrics):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, name="dense")], name="sequential")
    model.compile("sgd", loss, metrics=metrics)
    return json.loads(model.to_json())


all = {
    "function": compiled(my_loss, [metrics.Accuracy(), my_loss, metrics.MeanMetricWrapper(my_loss, name="wrapped")]),
    "imported": compiled(Huber(), None),
    "class": compiled(MeanSquaredError(), [AUC(name="mine"), metrics.CategoricalCrossentropy(axis=1), metrics.MeanSquaredError()]),
}
text = json.dumps({"keras": keras.__version__, **all}, separators=(",", ":"))
(pathlib.Path(__file__).parent / "files" / "own.json").write_text(text + "\n")
