"""Makes keras.json and images/ beside this file with real Keras 3. The Rust tests compare Ibex with them.

    python generate.py

Needed: a Python with keras==3.15.1, jax, tensorflow, numpy and pillow. Every number in keras.json is an input drawn here or what Keras (for
scalers: numpy, where Keras has no such thing) answered. The images are drawn here; what they shall be read as is what Keras's
image_dataset_from_directory yields. The order of shuffled data is Keras's own business: where Keras shuffles, the shuffle is patched out.
"""
import json, os, pickle, shutil
os.environ.update(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
out = {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__}


def array(a):
    a = np.asarray(a)
    if a.dtype.kind == "f":
        a = a.astype(np.float32)
        data = [None if np.isnan(v) else float(str(v)) for v in a.ravel()]  # the shortest text of the f32
    else:
        data = [int(v) for v in a.ravel()]
    return {"shape": list(a.shape), "data": data}


# pad_sequences
sequences = [[int(v) for v in rng.integers(1, 50, n)] for n in (3, 0, 7, 1, 5)]
cases = []
for maxlen in (None, 1, 4, 9):
    for padding in ("pre", "post"):
        for truncating in ("pre", "post"):
            for value in (0, -1):
                y = keras.utils.pad_sequences(sequences, maxlen=maxlen, padding=padding, truncating=truncating, value=value)
                cases.append(dict(maxlen=maxlen, padding=padding, truncating=truncating, value=value, output=array(y)))
out["pad_sequences"] = {"sequences": sequences, "cases": cases}

# to_categorical
cases = []
for shape, classes in (((5,), None), ((5,), 6), ((4, 1), 5), ((2, 3), None), ((2, 3, 1), 4)):
    x = rng.integers(0, 4, shape)
    cases.append(dict(labels=array(x), classes=classes, output=array(keras.utils.to_categorical(x, classes))))
out["to_categorical"] = cases

# normalize
cases = []
for shape in ((4, 3), (2, 3, 4)):
    x = np.round(rng.normal(size=shape), 3).astype(np.float32)
    x[0] = 0
    for axis in range(-len(shape), len(shape)):
        for order in (1, 2, 3, np.inf):
            # `axis or -1` in Keras turns axis 0 into the last one when it divides: a slip that fails or gives another result.
            if axis == 0 or (order == 3 and len(shape) == 3):
                continue
            y = np.asarray(keras.utils.normalize(x, axis=axis, order=order))
            cases.append(dict(x=array(x), axis=axis, order="inf" if order == np.inf else order, output=array(y)))
out["normalize"] = cases

# Scalers: Keras's Normalization where it has an answer, numpy otherwise.
x = np.round(rng.normal(size=(9, 4)) * [1, 10, 100, 1] + [0, 5, -300, 2], 3).astype(np.float32)
x[:, 3] = 2
layer = keras.layers.Normalization()
layer.adapt(x)
gaps = x.copy()
gaps[[0, 2, 5, 5], [0, 1, 1, 2]] = np.nan
deviation = np.nanstd(gaps.astype(np.float64), axis=0)
deviation[deviation == 0] = 1
low, high = np.nanmin(gaps, axis=0), np.nanmax(gaps, axis=0)
extent = np.where(high > low, high - low, 1)
out["scalers"] = dict(
    x=array(x), normalization=array(layer(x)), gaps=array(gaps), mean=array(np.nanmean(gaps.astype(np.float64), axis=0)), deviation=array(deviation),
    median=array(np.nanmedian(gaps, axis=0)), minmax=array((gaps.astype(np.float64) - low) / extent * 3 - 1))

# Windows
cases = []
series, targets = np.arange(23) * 10, np.arange(23) * 100
for length, stride, rate, start, end, n in (
    (4, 1, 1, None, None, None), (4, 3, 1, None, None, None), (3, 1, 2, None, None, None), (3, 2, 3, 2, None, None), (5, 4, 2, 3, 19, None),
    (4, 1, 1, None, None, 11), (4, 2, 1, None, 20, 23), (1, 1, 1, None, None, None), (23, 1, 1, None, None, None), (10, 3, 2, None, None, None)):
    y = targets if n is None else targets[:n]
    batches = keras.utils.timeseries_dataset_from_array(series, y, length, sequence_stride=stride, sampling_rate=rate, batch_size=1000,
                                                        start_index=start, end_index=end)
    [(xb, yb)] = list(batches)
    cases.append(dict(length=length, stride=stride, rate=rate, start=start, end=end, targets=len(y), x=array(xb), y=array(yb)))
out["windows"] = cases

# split_dataset: how many go where
cases = []
for n in (2, 3, 10, 11, 25, 97):
    for left in (0.1, 0.25, 0.5, 0.8):
        try:
            a, b = keras.utils.split_dataset(np.arange(n), left_size=left)
            cases.append(dict(n=n, left=left, sizes=[len(list(a)), len(list(b))]))
        except ValueError:
            cases.append(dict(n=n, left=left, sizes=None))
out["split_dataset"] = cases

# imdb.load_data of a made-up imdb.npz: ranks of words in, numbers out.
from keras.src.datasets import imdb
ranks = [[int(v) for v in rng.integers(1, 30, n)] for n in (6, 3, 9, 1)]
x = np.empty(len(ranks), dtype=object)
x[:] = ranks
class Still:
    def __init__(self, seed): pass
    def shuffle(self, a): pass
imdb.np.random.RandomState, imdb.get_file = Still, lambda *a, **k: None
imdb.npz_utils.load_npz = lambda path: dict(x_train=x, y_train=np.array([0, 1, 0, 1]), x_test=x, y_test=np.array([1, 0, 1, 0]))
cases = []
for options in ({"num_words": 20}, {"num_words": 20, "skip_top": 6}, {"num_words": 25, "oov_char": None}, {"num_words": 20, "start_char": None, "index_from": 0},
                {"num_words": 1000, "index_from": 5, "oov_char": 4, "start_char": 3}, {"num_words": 15, "maxlen": 7}, {"num_words": 15, "maxlen": 8}):
    (xs, ys), _ = imdb.load_data(**options)
    cases.append(dict(options=options, x=[[int(v) for v in s] for s in xs], y=[int(v) for v in ys]))
out["imdb"] = {"ranks": ranks, "cases": cases}

# Images: two classes, every kind of PNG and JPEG that is common. Smooth ones, so that JPEG decoders agree.
folder = os.path.join(HERE, "images")
shutil.rmtree(folder, ignore_errors=True)
for name in ("a", "b/inner"):
    os.makedirs(os.path.join(folder, name))
def smooth(h, w, c, seed):
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([127 + 120 * np.sin((x * (k + 1) + y * 2 + seed) / (w / 2)) for k in range(c)], -1).astype(np.uint8)
save = lambda img, name, **k: img.save(os.path.join(folder, name), **k)
save(Image.fromarray(smooth(9, 13, 3, 0)), "a/rgb.png")
save(Image.fromarray(smooth(8, 10, 4, 1)), "a/rgba.png")
save(Image.fromarray(smooth(11, 6, 1, 2)[..., 0]), "a/gray.png")
save(Image.fromarray(smooth(12, 12, 3, 3)).quantize(16), "a/palette.png")
save(Image.fromarray(smooth(7, 9, 1, 4)[..., 0].astype(np.uint16) * 256 + 77), "b/gray16.png")
save(Image.fromarray(smooth(24, 32, 3, 5)), "b/color.JPG", quality=95, subsampling=0)
save(Image.fromarray(smooth(33, 17, 3, 6)), "b/subsampled.jpeg", quality=95, subsampling=2)
save(Image.fromarray(smooth(16, 16, 1, 7)[..., 0]), "b/inner/gray.jpg", quality=95)
save(Image.fromarray(smooth(20, 28, 3, 8)), "b/inner/progressive.jpg", quality=95, subsampling=0, progressive=True)
with open(os.path.join(folder, "b", "notes.txt"), "w") as f:
    f.write("no image\n")
# TensorFlow decodes JPEG with the fast and inexact transform (off by up to 15 of 255 in these files); what the files say is wanted here.
def decode(data, channels=0, expand_animations=False, **_):
    jpeg = tf.equal(tf.strings.substr(data, 0, 2), b"\xff\xd8")
    return tf.cond(jpeg, lambda: tf.io.decode_jpeg(data, channels=channels, dct_method="INTEGER_ACCURATE"), lambda: tf.io.decode_png(data, channels=channels))
tf.image.decode_image = decode
cases = []
for options in (dict(color_mode="rgb", image_size=(6, 5)), dict(color_mode="rgb", image_size=(14, 11), label_mode="binary"),
                dict(color_mode="grayscale", image_size=(5, 7), label_mode="categorical"),
                dict(color_mode="rgb", image_size=(8, 4), crop_to_aspect_ratio=True), dict(color_mode="rgb", image_size=(5, 9), interpolation="nearest")):
    ds = keras.utils.image_dataset_from_directory(folder, shuffle=False, batch_size=100, verbose=False, **options)
    [(xb, yb)] = list(ds)
    xb = np.round(np.asarray(xb, np.float32), 3)
    cases.append(dict(options=options, files=[os.path.relpath(p, folder) for p in ds.file_paths], class_names=ds.class_names, x=array(xb), y=array(yb)))
out["images"] = cases
one = os.path.join(folder, "a/rgba.png")
out["rgba"] = array(np.asarray(Image.open(one), np.float32))

with open(os.path.join(HERE, "keras.json"), "w") as f:
    json.dump(out, f, separators=(",", ":"))
    f.write("\n")
