"""Writes files/: models of real Keras in its own files, with what they predict, for files.rs.

    KERAS_BACKEND=jax python generate_files.py [folder with files of older versions]

The models are some of ../interop/models.py, and one that is trained. Archives are compressed, which Keras reads as well. Files of older versions (named as in
OLDER, with an .npz of inputs and `pred` beside each) can only be written by those versions, and are copied.
"""
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import json
import pathlib
import shutil
import sys
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "interop"))
import keras
import numpy as np
from keras import layers

import models

OUT = pathlib.Path(__file__).parent / "files"
PICKED = """conv2d separable2d conv2d_transpose bidirectional_back time_distributed rnn_cells gru_before prelu normalization layernorm embedding_float act_leaky_re_lu mask_row
    op_slices op_where_const op_take op_std op_split shared outputs dicts nested nested_two nested_deep time_distributed_model mha_key mha_scores attention_three
    states state_gru mask mask_state mask_merge_both mask_concat masking mask_given mask_input mask_mha mask_nested paths_masks""".split()
OLDER = "k2.keras k2.legacy.h5 old_3.0.5.keras old_3.4.1.keras old_3.8.0.keras c_lstm.legacy.h5".split()


def array(value):
    value = np.asarray(value)
    kind = "bool" if value.dtype == bool else "f32" if value.dtype.kind == "f" else "i32"
    data = value.astype("float64").ravel() if kind != "bool" else value.astype(int).ravel()
    return {"shape": list(value.shape), "dtype": kind, "data": [float(f"{v:.8g}") if kind == "f32" else int(v) for v in data]}


def compress(source, target):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, old.read(name))


def save(model, name):
    model.save(OUT / "raw.keras")
    compress(OUT / "raw.keras", OUT / name)
    (OUT / "raw.keras").unlink()


def fed(model, x):
    struct = getattr(model, "_inputs_struct", None)
    return dict(zip(sorted(struct), x)) if isinstance(struct, dict) else x if len(x) > 1 else x[0]


def predict(model, x):
    return [array(y) for y in keras.tree.flatten(model(fed(model, x), training=False))]


def trained():
    """Two outputs, an optimizer with state of several kinds; what follows from going on."""
    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(5)
    v, i = keras.Input((5,), name="v"), keras.Input((6, 4), name="i")
    h = layers.BatchNormalization()(layers.Dense(7, activation="relu", kernel_regularizer="l2")(v))
    c = layers.Concatenate()([h, layers.LSTM(3)(layers.Dense(4, trainable=False)(i))])
    m = keras.Model([v, i], [layers.Dense(2, name="size")(c), layers.Dense(1, activation="sigmoid", name="flag")(c * 0.5)], name="trained")
    m.compile(keras.optimizers.RMSprop(keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9), momentum=0.5, centered=True),
              {"size": keras.losses.LogCosh(), "flag": "binary_crossentropy"}, loss_weights={"size": 1.0, "flag": 0.3},
              metrics={"size": ["mae"], "flag": ["accuracy", keras.metrics.AUC()]})
    x = [rng.normal(size=(24, 5)).astype("float32"), rng.normal(size=(24, 6, 4)).astype("float32")]
    y = [rng.normal(size=(24, 2)).astype("float32"), rng.integers(0, 2, (24, 1)).astype("float32")]
    fit = lambda: m.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0).history["loss"]
    fit()
    save(m, "trained.keras")

    evaluated = m.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    return {"x": [array(a) for a in x], "y": [array(a) for a in y], "evaluate": evaluated, "loss": fit(), "predicted": predict(m, x)}


def compiled():
    """Models that are compiled and were never trained; what follows from training them."""
    keras.utils.set_random_seed(6)
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(16, 3)).astype("float32"), rng.normal(size=(16, 1)).astype("float32")
    O, cases = keras.optimizers, {}
    rules = {"adam": O.Adam(0.02), "schedule": O.RMSprop(O.schedules.ExponentialDecay(0.02, 2, 0.5)), "sgd": O.SGD(0.05), "scaled": O.LossScaleOptimizer(O.SGD(0.05, momentum=0.5))}
    for name, rule in rules.items():
        m = keras.Sequential([keras.Input((3,)), layers.Dense(4, activation="tanh"), layers.Dense(1)])
        m.compile(rule, "mse")
        save(m, f"compiled_{name}.keras")
        loss = m.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0).history["loss"]
        cases[f"compiled_{name}.keras"] = loss
    return {"x": array(x), "y": array(y), "loss": cases}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    files = {}
    for name, model in models.all_models():
        if name in PICKED:
            x = models.example_inputs(model, 2)
            save(model, f"{name}.keras")
            files[f"{name}.keras"] = {"x": [array(a) for a in x], "predicted": predict(model, x)}
    json.dump(compiled(), open(OUT / "compiled.json", "w"), separators=(",", ":"))
    json.dump(trained(), open(OUT / "trained.json", "w"), separators=(",", ":"))
    for name in OLDER if len(sys.argv) > 1 else []:
        source = pathlib.Path(sys.argv[1]) / name
        (compress if name.endswith(".keras") else shutil.copyfile)(source, OUT / name)
        (OUT / name).chmod(0o644)
        with np.load(source.parent / (name.split(".keras")[0].split(".legacy")[0] + ".npz")) as stored:
            arrays = {key: stored[key] for key in stored.files if key != "y"}
        pred = arrays.pop("pred")
        files[name] = {"x": [array(arrays[key]) for key in sorted(arrays)], "predicted": [array(pred)]}
    json.dump(files, open(OUT / "files.json", "w"), separators=(",", ":"))
    print(sum(path.stat().st_size for path in OUT.iterdir()), "bytes in", len(list(OUT.iterdir())), "files")


if __name__ == "__main__":
    main()
