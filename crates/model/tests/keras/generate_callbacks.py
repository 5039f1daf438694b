"""Makes callbacks.json with real Keras 3: what its callbacks decide and write for given logs, driven by hand.

    python generate_callbacks.py       # some seconds; writes the file beside this one
"""
import contextlib, io, os, random, tempfile
from unittest import mock

import generate as g
import keras
from keras.src.utils.progbar import Progbar

C = keras.callbacks


def model(rate=0.01):
    m = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    m.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae", "accuracy"])
    m.train_on_batch(g.np.zeros((1, 1)), g.np.zeros((1, 1)))  # builds the metrics
    return m


def epochs(m, callback, logs, mark=False):
    """Rates, texts, the epoch after which it stopped; the kernel is the number of the epoch if `mark`."""
    callback.set_model(m)
    m.stop_training = False
    rates, stopped = [], None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        callback.on_train_begin({})
        for epoch, given in enumerate(logs):
            callback.on_epoch_begin(epoch)
            if mark:
                m.set_weights([g.np.full((1, 1), epoch, "float32"), g.np.zeros(1, "float32")])
            callback.on_epoch_end(epoch, dict(given))
            rates.append(float(m.optimizer.learning_rate))
            if m.stop_training:
                stopped = epoch
                break
        callback.on_train_end({})
    return {"rates": rates, "stopped": stopped, "text": out.getvalue(), "kernel": float(m.get_weights()[0][0, 0])}


def sequences():
    r = random.Random(4)
    plateau = [1.0, 0.8, 0.7, 0.7, 0.7, 0.69, 0.69, 0.69, 0.69, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    noisy = [round(1 / (i + 1) + r.uniform(-0.2, 0.2), 3) for i in range(20)]
    rising = [0.1, 0.3, 0.5, 0.45, 0.5, 0.52, 0.51, 0.51, 0.51, 0.9, 0.8, 0.8]
    return {"plateau": plateau, "noisy": noisy, "rising": rising}


def decisions():
    cases = []
    for sequence, values in sequences().items():
        for kind, configs in {
            "ReduceLROnPlateau": [
                {"patience": 2}, {"patience": 1, "factor": 0.5, "cooldown": 2}, {"patience": 2, "min_delta": 0.05},
                {"patience": 1, "factor": 0.2, "min_lr": 0.001}, {"patience": 1, "mode": "max"}, {"patience": 0, "factor": 0.9},
                {"patience": 3, "factor": 0.3, "cooldown": 1, "min_delta": 0.2},
            ],
            "EarlyStopping": [
                {}, {"patience": 2}, {"patience": 3, "min_delta": 0.05}, {"patience": 2, "restore_best_weights": True},
                {"patience": 4, "baseline": 0.6}, {"patience": 2, "start_from_epoch": 4}, {"patience": 2, "mode": "max"},
                {"patience": 20, "restore_best_weights": True}, {"patience": 1, "baseline": 0.3, "restore_best_weights": True},
            ],
        }.items():
            for monitor in ("val_loss", "val_accuracy"):
                for config in configs if monitor == "val_loss" else configs[:2]:
                    config = {"monitor": monitor, "verbose": 1, **config}
                    done = epochs(model(), getattr(C, kind)(**config), [{monitor: v} for v in values], kind == "EarlyStopping")
                    cases.append({"name": f"{kind} {sequence} {config}", "callback": kind, "config": config, "values": values, **done})
    return cases


def checkpoints():
    """What is written when only better models are, and what is said."""
    cases = []
    for name, values in sequences().items():
        for config in ({}, {"mode": "max"}, {"initial_value_threshold": 0.75}):
            with tempfile.TemporaryDirectory() as folder:
                m, path = model(), os.path.join(folder, "{epoch:02d}-{val_loss:.2f}.keras")
                done = epochs(m, C.ModelCheckpoint(path, save_best_only=True, verbose=1, **config), [{"val_loss": v} for v in values])
                # No folder of this machine, and our own kind of file.
                text = done["text"].replace(folder + "/", "").replace(".keras", ".safetensors")
                files = sorted(f.replace(".keras", ".safetensors") for f in os.listdir(folder))
                cases.append({"name": f"{name} {config}", "config": config, "values": values, "files": files, "text": text})
    return cases


def paths():
    logs = {"loss": 0.123456, "val_loss": 12.5, "accuracy": 0.00001234, "down": -1.5, "whole": 3.0, "large": 1.25e20}
    cases = []
    for pattern in ("model.keras", "{epoch:02d}-{val_loss:.2f}.keras", "{epoch}.keras", "e{epoch:03d}_{loss:.4f}.keras", "{accuracy:.2e}.keras",
                    "{accuracy}.keras", "{whole}-{large}-{down}.keras", "{loss:8.3f}|{down:08.3f}|{val_loss:f}.keras", "{loss:.1%}.keras", "{{x}}{epoch:5d}.keras", "{epoch:.1f}.keras"):
        for epoch in (0, 11):
            path = C.ModelCheckpoint(pattern)._get_file_path(epoch, None, logs)
            cases.append({"pattern": pattern, "epoch": epoch, "batch": None, "logs": logs, "path": path})
    pattern = "{epoch:02d}-{batch:04d}.keras"
    cases.append({"pattern": pattern, "epoch": 0, "batch": 41, "logs": logs, "path": C.ModelCheckpoint(pattern)._get_file_path(0, 41, logs)})
    return cases


def csv_files():
    """The bytes after each of two runs."""
    first = [{"loss": 0.1, "accuracy": 1.0}, {"loss": 1e-05, "accuracy": 0.3333333432674408, "val_loss": 7.0}, {"loss": float("nan"), "accuracy": float("inf")}]
    second = [{"loss": 123456789.125, "accuracy": 1e22, "val_loss": 1.5e-7, "val_accuracy": 0.0}]
    cases = []
    for separator, append in ((",", False), (",", True), (";", True)):
        texts = []
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "log.csv")
            for logs in (first, second):
                epochs(model(), C.CSVLogger(path, separator, append), logs)
                with open(path, newline="") as file:
                    texts.append(file.read())
        runs = [[{k: str(v) for k, v in epoch.items()} for epoch in run] for run in (first, second)]
        cases.append({"separator": separator, "append": append, "runs": runs, "texts": texts})
    return cases


def progress():
    cases = []
    for name, verbose, target, moments in [
        ("a few steps", 1, 5, [0.9, 1.0, 1.01, 1.2, 1.3]),
        ("one step", 1, 1, [0.2]),
        ("hours", 1, 1000, [30.0, 60.0, 61.0, 90.0]),
        ("minutes", 1, 100, [1.0, 2.0, 3.5]),
        ("unknown", 1, None, [0.3, 0.31, 0.5, 1.75]),
        ("long", 1, 12345, [0.001 * i for i in range(1, 200)]),
        ("fast", 1, 7, [0.00001 * i for i in range(1, 8)]),
        ("a line", 2, 7, [0.1 * i for i in range(1, 8)]),
        ("a line of one step", 2, 1, [2.6]),
        ("shrinking", 1, 4, [0.1, 0.2, 0.3, 0.4]),
    ]:
        now = [0.0]
        with mock.patch("keras.src.utils.progbar.time.time", lambda: now[0]):
            bar = Progbar(target, verbose=verbose, unit_name="step", stateless_metrics=set())
            bar._dynamic_display, bar._last_update = True, float("-inf")

            def update(step, seconds, logs, finalize):
                now[0] = seconds
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    bar.update(step, list(logs.items()), finalize=finalize)
                return [step, seconds, list(logs.items()), out.getvalue()]

            updates = []
            for i, seconds in enumerate(moments):
                logs = {"accuracy": 0.1 * i, "loss": 1234.5 / 10 ** (2 * i) if i < 9 else 0.5}
                if verbose == 1:
                    updates.append(update(i + 1, seconds, logs, False))
            steps = target if target is not None and name not in ("hours", "minutes", "long") else len(moments)
            bar.target = steps
            last = {"accuracy": 0.5, "loss": -0.25 if name == "fast" else 0.0009999, "val_accuracy": 0.0, "val_loss": 12.0, "learning_rate": 0.01}
            last = {"loss": -0.5} if name == "a line of one step" else {"accuracy": 0.5, "loss": 0.5} if name == "shrinking" else last
            finish = update(steps, moments[-1] + 0.25, last, True)
        cases.append({"name": name, "verbose": verbose, "target": target, "updates": updates, "finish": finish})
    return cases


if __name__ == "__main__":
    g.write("callbacks.json", decisions=decisions(), checkpoints=checkpoints(), paths=paths(), csv=csv_files(), progress=progress())
