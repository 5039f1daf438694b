"""Writes files/: what h5py, NumPy and Keras write, for the tests beside this script.

    python generate.py     # needs h5py, numpy, keras==3.15.1 and jax
"""

import os
import zipfile

os.environ["KERAS_BACKEND"] = "jax"

import h5py
import keras
import numpy as np

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")
os.makedirs(here, exist_ok=True)


def path(name):
    return os.path.join(here, name)


def numbers(kind, *shape):
    """0, 1, 2, ... from -3 on where there is a sign."""
    count = int(np.prod(shape))
    start = -3 if np.dtype(kind).kind in "if" else 0
    return (np.arange(count) + start).reshape(shape).astype(kind)


def arrays(libver):
    """Every way to store numbers; a test knows that each array counts up."""
    with h5py.File(path(f"arrays_{libver}.h5"), "w", libver=libver) as file:
        group = file.create_group("plain")
        for kind in "<f2 <f4 <f8 >f2 >f4 >f8 <i1 <i2 <i4 <i8 >i2 >i4 >i8 <u1 <u2 <u4 <u8 >u4".split():
            group[kind.replace("<", "little_").replace(">", "big_")] = numbers(kind, 2, 3)
        group["bool"] = np.array([True, False, True])
        group["scalar"] = np.float32(-3)
        group["empty"] = np.zeros((0, 3), "f4")
        packed = file.create_group("packed")
        options = {"gzip": dict(compression="gzip"), "shuffle": dict(compression="gzip", shuffle=True),
                   "fletcher": dict(fletcher32=True), "plain": {}}
        for name, option in options.items():
            packed.create_dataset(name, data=numbers("f4", 7, 5), chunks=(3, 2), **option)
        packed.create_dataset("one", data=numbers("f4", 7, 5), chunks=(7, 5), compression="gzip")
        packed.create_dataset("growing", data=numbers("f4", 7, 5), chunks=(2, 2), maxshape=(None, 5))
        packed.create_dataset("both", data=numbers("f4", 7, 5), chunks=(2, 2), maxshape=(None, None))
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        dataset = h5py.h5d.create(packed.id, b"compact", h5py.h5t.IEEE_F32LE, space, compact)
        dataset.write(space, space, numbers("f4", 4))
        file.attrs["text"] = "grüße"
        file.attrs["fixed"] = np.bytes_("fixed")
        file.attrs["texts"] = ["a", "", "ccc"]
        file.attrs["fixed_texts"] = np.array([b"a", b"bb"])
        file.attrs["ints"] = np.array([1, -2], "i2")
        file.attrs["floats"] = np.array([0.5], ">f4")
        file.attrs["none"] = []
        file["words"] = ["not", "numbers"]
        many = file.create_group("many")
        for i in range(40):
            many.create_group(f"group_{i}").attrs["number"] = i
        for i in range(12):
            many.attrs[f"attribute_{i}"] = f"text {i}"


for libver in ("earliest", "latest"):
    arrays(libver)

with h5py.File(path("loop.h5"), "w") as file:
    group = file.create_group("a/b")
    group["up"] = file["a"]

keras.utils.set_random_seed(1)
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu"), keras.layers.Dense(1)], name="small")
model.compile("adam", "mse")
model.fit(numbers("f4", 4, 3), numbers("f4", 4, 1), verbose=0)
model.save(path("small.keras"))
with zipfile.ZipFile(path("small.keras")) as stored, zipfile.ZipFile(path("deflated.keras"), "w", zipfile.ZIP_DEFLATED) as packed:
    for name in stored.namelist():
        packed.writestr(name, stored.read(name))
model.save(path("small.h5"))

kinds = {k.replace("<", "little_").replace(">", "big_"): numbers(k, 2, 3) for k in "<f2 <f4 >f8 <i1 >i2 <i8 <u1 >u4".split()}
np.savez(path("stored.npz"), **kinds)
np.savez_compressed(path("packed.npz"), fortran=np.asfortranarray(numbers("f4", 2, 3, 4)), scalar=np.float32(-3), bool=np.array([True, False]))
for version in (1, 2, 3):
    with open(path(f"version_{version}.npy"), "wb") as file:
        np.lib.format.write_array(file, numbers("f4", 2, 3), version=(version, 0))
np.save(path("objects.npy"), np.array([{}, 1], dtype=object))
