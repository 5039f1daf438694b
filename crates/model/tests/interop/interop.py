"""Models go from real Keras to Ibex and back: predictions, training, optimizer state.

    cargo build --release -p ibex --example keras_interop
    python crates/model/tests/interop/interop.py target/release/examples/keras_interop [folder of older files]

Needs keras, a backend and h5py. Every model of `models.py` is saved by Keras, loaded and saved by Ibex, and loaded by Keras again: all three must predict
the same. A model that Ibex made of operations on symbolic tensors must predict the same in Keras. Then models are trained here, there, and in turns, and must have the same weights and losses. Exits with 1 if anything differs by more than 1e-5
(relative to 1 + the size of the number; 1e-4 after training).
"""
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
import keras
import numpy as np
from keras import layers, optimizers

import models

FAILED = []


class Stretched(keras.losses.Loss):
    """A loss of the user's own, which `driver.rs` has too."""

    def __init__(self, factor=1.0, **rest):
        super().__init__(**rest)
        self.factor = factor

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_pred - y_true), axis=-1) * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Distance(keras.metrics.MeanMetricWrapper):
    """A metric of the user's own."""

    def __init__(self, name="distance", dtype=None):
        super().__init__(lambda y_true, y_pred: keras.ops.abs(y_pred - y_true), name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


OWN = {"Stretched": Stretched, "Distance": Distance}


def fail(name, text):
    FAILED.append(name)
    print(f"FAILED {name}: {str(text)[-400:]}")


def error(got, want):
    """The largest relative difference."""
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    if got.shape != want.shape:
        return f"shape {got.shape} instead of {want.shape}"
    if got.size == 0:
        return 0.0
    worst = float(np.max(np.abs(got - want) / (1 + np.abs(want))))
    return worst if np.isfinite(worst) else "NaN"


def compare(name, got, want, limit=1e-5):
    if len(got) != len(want):
        return fail(name, f"{len(got)} arrays instead of {len(want)}")
    for i, (g, w) in enumerate(zip(got, want)):
        e = error(g, w)
        if not isinstance(e, float) or e > limit:
            return fail(name, f"array {i} differs by {e}")


def save(path, arrays):
    np.savez(path, **{str(i): a for i, a in enumerate(arrays)})
    return str(path)


def load(path):
    with np.load(path) as file:
        return [file[str(i)] for i in range(len(file.files))]


def fed(model, values):
    """Inputs as the model takes them."""
    struct = getattr(model, "_inputs_struct", None)
    if isinstance(struct, dict):
        return dict(zip(sorted(struct), values))
    return values if len(values) > 1 else values[0]


def predict(model, values):
    return [np.asarray(y) for y in keras.tree.flatten(model(fed(model, values), training=False))]


def ibex(binary, folder, jobs):
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    done = subprocess.run([binary, str(path)], capture_output=True, text=True, timeout=1200)
    if done.returncode:
        sys.exit(f"{binary} ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def round_trips(binary, folder, endings=("keras",)):
    """Keras, Ibex, Keras again."""
    made, jobs = [], []
    for name, model in models.all_models():
        x = models.example_inputs(model)
        for ending in endings:
            stem = folder / f"{name}.{ending}"
            model.save(stem)
            job = {"load": str(stem), "x": save(f"{stem}.x.npz", x), "predict": f"{stem}.y.npz"}
            job["save"] = [str(folder / f"{name}.back.{e}") for e in ("keras", "weights.h5") if e == "keras"]
            jobs.append(job)
            made.append((f"{name}.{ending}", model, x, predict(model, x)))
    for (name, model, x, want), job, answer in zip(made, jobs, ibex(binary, folder, jobs)):
        if "error" in answer:
            fail(name, answer["error"])
            continue
        compare(f"{name} in Ibex", load(job["predict"]), want)
        try:
            back = keras.models.load_model(job["save"][0])
            compare(f"{name} back in Keras", predict(back, [np.asarray(v) for v in x]), want)
        except Exception as e:
            fail(f"{name} back in Keras", str(e))
    print(f"{len(jobs)} round trips")


def made_here(binary, folder):
    """A model that Ibex made of operations, in Keras."""
    rng = np.random.default_rng(7)
    x = [np.round(rng.normal(size=(3, 6, 4)), 2).astype("float32") for _ in range(2)]
    path = folder / "operations.keras"
    job = {"make": "operations", "x": save(f"{path}.x.npz", x), "predict": f"{path}.y.npz", "save": [str(path)]}
    [answer] = ibex(binary, folder, [job])
    if "error" in answer:
        return fail("operations", answer["error"])
    try:
        want = predict(keras.models.load_model(path), x)
        compare("operations of Ibex in Keras", load(job["predict"]), want)
        print(f"{len(want)} operations")
    except Exception as e:
        fail("operations of Ibex in Keras", str(e))


def trainings():
    """(name, model, inputs, targets), compiled."""
    rng = np.random.default_rng(3)
    S, O = optimizers.schedules, optimizers
    rules = {
        "sgd": lambda: O.SGD(0.05), "momentum": lambda: O.SGD(0.05, momentum=0.9, nesterov=True), "adam": lambda: O.Adam(0.01), "amsgrad": lambda: O.Adam(0.01, amsgrad=True),
        "adamw": lambda: O.AdamW(0.01, weight_decay=0.02), "rmsprop": lambda: O.RMSprop(0.01, momentum=0.5, centered=True), "adagrad": lambda: O.Adagrad(0.05),
        "adadelta": lambda: O.Adadelta(0.5), "adamax": lambda: O.Adamax(0.01), "nadam": lambda: O.Nadam(0.01), "ftrl": lambda: O.Ftrl(0.05), "lion": lambda: O.Lion(0.003), "lamb": lambda: O.Lamb(0.01),
        "schedule": lambda: O.Adam(S.ExponentialDecay(0.01, 5, 0.8)), "cosine": lambda: O.SGD(S.CosineDecay(0.05, 20, warmup_target=0.1, warmup_steps=5), momentum=0.5),
        "piecewise": lambda: O.SGD(S.PiecewiseConstantDecay([4, 9], [0.1, 0.05, 0.01])), "clip": lambda: O.Adam(0.01, global_clipnorm=0.5), "ema": lambda: O.Adam(0.01, use_ema=True, ema_momentum=0.9),
        "accumulate": lambda: O.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2), "scaled": lambda: O.LossScaleOptimizer(O.Adam(0.01), initial_scale=8.0),
    }
    x = rng.normal(size=(24, 5)).astype("float32")
    y = rng.integers(0, 3, (24,)).astype("int32")
    for name, rule in rules.items():
        m = keras.Sequential([keras.Input((5,)), layers.Dense(6, activation="tanh"), layers.BatchNormalization(), layers.Dense(3)], name="rows")
        m.compile(rule(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        yield name, m, [x], [y]
    v, i = keras.Input((5,), name="v"), keras.Input((6, 4), name="i")
    z = rng.normal(size=(24, 6, 4)).astype("float32")
    one = rng.normal(size=(24, 2)).astype("float32")
    flag = rng.integers(0, 2, (24, 1)).astype("float32")

    def two(loss, **more):
        h = layers.Dense(7, activation="relu", kernel_regularizer="l2")(v)
        g = layers.LSTM(3)(layers.Dense(4, trainable=False)(i))
        c = layers.Concatenate()([h, g])
        m = keras.Model([v, i], [layers.Dense(2, name="size")(c), layers.Dense(1, activation="sigmoid", name="flag")(c + 0.0)])
        m.compile("adam", loss, **more)
        return m, [x, z], [one, flag]

    yield "outputs_list", *two(["mse", "binary_crossentropy"], loss_weights=[1.0, 0.3], metrics=[["mae"], ["accuracy", keras.metrics.AUC()]])
    yield "outputs_dict", *two({"size": keras.losses.Huber(0.5), "flag": keras.losses.BinaryCrossentropy(label_smoothing=0.1)}, metrics={"flag": [keras.metrics.Precision()]}, weighted_metrics={"size": ["mse"]})
    yield "outputs_one", *two("mse")
    for loss in ["mae", "mape", "msle", "huber", "log_cosh", "cosine_similarity", "kl_divergence", "poisson", "hinge", "squared_hinge", "binary_crossentropy",
                 keras.losses.BinaryFocalCrossentropy(gamma=1.5), keras.losses.Dice(), keras.losses.Tversky(alpha=0.3)]:
        m = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="softplus"), layers.Dense(2, activation="sigmoid")], name="losses")
        m.compile(keras.optimizers.Adam(0.01), loss, metrics=["mse"])
        yield f"loss_{loss if isinstance(loss, str) else loss.name}", m, [x], [rng.uniform(0.1, 0.9, (24, 2)).astype("float32")]
    metrics = [keras.metrics.CategoricalAccuracy(), keras.metrics.TopKCategoricalAccuracy(k=2), keras.metrics.F1Score(average="macro"), keras.metrics.AUC(multi_label=True), keras.metrics.Recall(class_id=1),
               keras.metrics.MeanSquaredError(), keras.metrics.RootMeanSquaredError(), keras.metrics.CosineSimilarity(), keras.metrics.KLDivergence(), "mae", "categorical_crossentropy"]
    m = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")], name="metrics")
    m.compile("rmsprop", "categorical_crossentropy", metrics=metrics)
    yield "metrics", m, [x], [keras.utils.to_categorical(y, 3)]
    m = keras.Sequential([keras.Input((6,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True), layers.GRU(3, return_sequences=True), layers.Bidirectional(layers.LSTM(3)), layers.Dense(1)], name="masked")
    m.compile(keras.optimizers.Nadam(0.01), "mse")
    yield "masked", m, [rng.integers(0, 9, (24, 6)).astype("int32")], [flag]
    m = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="tanh"), layers.Dense(2)], name="own")
    m.compile(keras.optimizers.Adam(0.01), Stretched(3.0), metrics=[Distance()])
    yield "own", m, [x], [one]


def train(model, x, y, epochs=2):
    targets = y if len(y) > 1 else y[0]
    return model.fit(fed(model, x), targets, epochs=epochs, batch_size=8, shuffle=False, verbose=0).history["loss"]


def training(binary, folder):
    """Two epochs in Keras; then two more in Keras, in Ibex, and in Keras after Ibex wrote the file."""
    made, jobs = [], []
    for name, model, x, y in trainings():
        train(model, x, y)
        path = folder / f"train_{name}.keras"
        model.save(path)
        targets = y if len(y) > 1 else y[0]
        before = keras.models.load_model(path, OWN).evaluate(fed(model, x), targets, batch_size=8, verbose=0, return_dict=True)
        files = {"load": str(path), "x": save(f"{path}.x.npz", x), "y": save(f"{path}.t.npz", y), "own": name == "own"}
        again = str(folder / f"train_{name}.again.keras")
        later = str(folder / f"train_{name}.later.keras")
        jobs += [files | {"save": [again]}, files | {"epochs": 2, "predict": f"{path}.before.npz", "save": [later]}]
        model = keras.models.load_model(path, OWN)
        losses = train(model, x, y)
        made.append((name, model, x, y, before, losses, again, later))
    answers = ibex(binary, folder, jobs)
    for (name, model, x, y, before, losses, again, later), first, second in zip(made, answers[::2], answers[1::2]):
        name = f"training {name}"
        if "error" in first or "error" in second:
            fail(name, first.get("error") or second.get("error"))
            continue
        # Ibex says of each metric whether weights count.
        first["evaluate"] = {k.replace("weighted_", ""): v for k, v in first["evaluate"].items()}
        if set(first["evaluate"]) >= set(before):
            compare(f"{name}: evaluate", [first["evaluate"][k] for k in before], [before[k] for k in before], 1e-4)
        else:
            fail(f"{name}: evaluate", f"{sorted(first['evaluate'])} instead of {sorted(before)}")
        compare(f"{name}: losses in Ibex", [second["loss"]], [losses], 1e-4)
        want = model.get_weights()
        try:
            there = keras.models.load_model(later, OWN)
            compare(f"{name}: trained in Ibex", there.get_weights(), want, 1e-4)
            state = [np.asarray(v) for v in there.optimizer.variables]
            compare(f"{name}: optimizer state of Ibex", state, [np.asarray(v) for v in model.optimizer.variables], 1e-4)
            compare(f"{name}: not compiled in Keras", keras.models.load_model(later, compile=False).get_weights(), want, 1e-4)
            resumed = keras.models.load_model(again, OWN)
            compare(f"{name}: losses in Keras after Ibex", [train(resumed, x, y)], [losses], 1e-5)
            compare(f"{name}: trained in Keras after Ibex", resumed.get_weights(), want, 1e-4)
        except Exception as e:
            fail(f"{name}: back in Keras", str(e))
    print(f"{len(made)} trainings")


def older(binary, folder, samples):
    """Files of older versions, with what those predicted."""
    samples, jobs, made = pathlib.Path(samples), [], []
    for path in sorted([*samples.glob("*.keras"), *samples.glob("*.legacy.h5")]):
        stored = samples / (path.name.split(".keras")[0].split(".legacy")[0] + ".npz")
        with np.load(stored) as file:
            arrays = {name: file[name] for name in file.files}
        want = arrays.pop("pred")
        arrays.pop("y", None)
        x = [arrays[name] for name in sorted(arrays)]
        jobs.append({"load": str(path), "x": save(folder / f"{path.name}.x.npz", x), "predict": str(folder / f"{path.name}.y.npz"), "save": [str(folder / f"{path.name}.back.keras")]})
        made.append((path.name, x, want))
    for (name, x, want), job, answer in zip(made, jobs, ibex(binary, folder, jobs)):
        if "error" in answer:
            fail(name, answer["error"])
            continue
        compare(f"{name} in Ibex", load(job["predict"]), [want])
        try:
            back = keras.models.load_model(job["save"][0])
            compare(f"{name} back in Keras", predict(back, x), [want])
        except Exception as e:
            fail(f"{name} back in Keras", str(e))
    print(f"{len(made)} older files")


def main():
    binary = sys.argv[1]
    only = sys.argv[3:] or ["older", "round", "made", "training"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if len(sys.argv) > 2 and sys.argv[2] != "-" and "older" in only:
            older(binary, folder, sys.argv[2])
        if "round" in only:
            round_trips(binary, folder)
        if "made" in only:
            made_here(binary, folder)
        if "training" in only:
            training(binary, folder)
    if FAILED:
        sys.exit(f"{len(FAILED)} checks failed")
    print("all equal")


if __name__ == "__main__":
    main()
