"""Makes rules_adafactor.json with real Keras 3 on JAX (CPU): ten steps of Adafactor.

    python generate_adafactor.py
"""
import sys

import generate as g
import keras
from generate_rules import optimizer_case

# Of a matrix the moments of rows and of columns, which Keras names after the weight alone; of a vector two that are not used.
NAMES = ["iteration", "learning_rate", "a_row_moment", "a_column_moment", "a_velocity", None, None, "b_velocity"]


def cases():
    out = []
    for name, config in {
        "default": {}, "rate": {"learning_rate": 0.5}, "not_relative": {"learning_rate": 0.9, "relative_step": False},
        "own": {"learning_rate": 0.1, "beta_2_decay": -0.6, "epsilon_1": 1e-4, "epsilon_2": 0.05, "clip_threshold": 0.7},
        "weight_decay": {"learning_rate": 0.1, "weight_decay": 0.04}, "clipnorm": {"learning_rate": 0.1, "clipnorm": 1.5},
    }.items():
        out.append(optimizer_case("Adafactor_" + name, "Adafactor", config, names=NAMES))
    schedule = keras.optimizers.schedules.ExponentialDecay(0.4, 3, 0.5)
    out.append(optimizer_case("Adafactor_schedule", "Adafactor", {}, schedule, [n for n in NAMES if n != "learning_rate"]))
    return out


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    g.write("rules_adafactor.json", cases())
