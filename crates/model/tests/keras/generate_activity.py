"""Makes activity.json with real Keras 3 on JAX (CPU): training steps of recurrent layers that have an activity regularizer.

    python generate_activity.py
"""
import sys

import generate as g
import keras
from generate_norm import step_case


class SimpleRNN(keras.layers.SimpleRNN):
    """That of Keras 3.15.1 takes an activity regularizer and forgets it."""

    def __init__(self, **config):
        super().__init__(**config)
        self.activity_regularizer = keras.regularizers.get(config["activity_regularizer"])


keras.layers.SimpleRNN = SimpleRNN


def steps():
    r = g.Rand("activity")
    l1 = {"class_name": "L1", "config": {"l1": 0.3}}
    l2 = {"class_name": "L2", "config": {"l2": 0.5}}
    both = {"class_name": "L1L2", "config": {"l1": 0.2, "l2": 0.4}}
    out = []
    for cls, name in (("LSTM", "lstm"), ("GRU", "gru"), ("SimpleRNN", "simple_rnn")):
        add = lambda kind, **config: out.append(step_case(f"{name}_{kind}", cls, {"units": 3, **config}, [r.normal(4, 5, 2)]))
        add("activity_l2", activity_regularizer=l2)
        add("activity_l1_sequences", activity_regularizer=l1, return_sequences=True)
        add("activity_both_backwards", activity_regularizer=both, go_backwards=True, kernel_regularizer=l2, recurrent_regularizer=l1)
    return out


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    g.write("activity.json", [], steps=steps())
