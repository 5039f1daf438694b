"""Makes preprocessing.json and text.json with real Keras 3 on JAX (CPU; the lookups are TensorFlow's): preprocessing layers.

    python generate_preprocessing.py   # writes the two files beside this one

Numbers and helpers as in generate.py. Random augmentations have a range of one number, so that they are not random.
"""
import sys

import generate as g
import keras
import numpy as np


def layer_cases():
    cases = []

    def add(name, cls, config, shape, training=False, data=None, low=0.0, high=1.0):
        x = data if data is not None else g.Rand(name + ".x").uniform(*shape, low=low, high=high)
        cases.append(g.layer_case(name, cls, config, x, training))

    add("rescaling", "Rescaling", {"scale": 0.5, "offset": -1.0}, (2, 3, 4))
    add("rescaling_channels", "Rescaling", {"scale": [0.5, 2.0], "offset": [1.0, -1.0]}, (3, 4, 2))

    for kind in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"):
        add(f"resizing_{kind}_up", "Resizing", {"height": 7, "width": 5, "interpolation": kind}, (2, 4, 3, 2))
        add(f"resizing_{kind}_down", "Resizing", {"height": 3, "width": 4, "interpolation": kind}, (2, 7, 9, 2))
    add("resizing_antialias", "Resizing", {"height": 3, "width": 4, "antialias": True}, (1, 8, 9, 2))
    add("resizing_antialias_bicubic", "Resizing", {"height": 3, "width": 9, "antialias": True, "interpolation": "bicubic"}, (1, 8, 7, 1))
    add("resizing_crop", "Resizing", {"height": 4, "width": 4, "crop_to_aspect_ratio": True}, (2, 5, 8, 2))
    add("resizing_crop_tall", "Resizing", {"height": 3, "width": 5, "crop_to_aspect_ratio": True}, (1, 9, 6, 2))
    add("resizing_pad", "Resizing", {"height": 4, "width": 4, "pad_to_aspect_ratio": True, "fill_value": 0.5}, (2, 5, 8, 2))
    add("resizing_pad_wide", "Resizing", {"height": 4, "width": 6, "pad_to_aspect_ratio": True, "fill_value": -1.0}, (2, 6, 3, 2))
    add("center_crop", "CenterCrop", {"height": 3, "width": 4}, (2, 6, 7, 2))
    add("center_crop_same", "CenterCrop", {"height": 5, "width": 4}, (1, 5, 4, 1))
    add("center_crop_small", "CenterCrop", {"height": 6, "width": 8}, (2, 5, 9, 1))

    for training in (False, True):
        suffix = "_training" if training else ""
        add("normalization" + suffix, "Normalization", {"axis": -1, "mean": [0.5, -1.0, 2.0], "variance": [0.25, 2.0, 1.5]}, (4, 2, 3), training)
    add("normalization_scalar", "Normalization", {"axis": None, "mean": 0.3, "variance": 2.5}, (4, 3))
    add("normalization_two_axes", "Normalization", {"axis": [1, 3], "mean": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
                                                    "variance": [[1.0, 2.0], [0.5, 0.25], [3.0, 0.1]]}, (2, 3, 2, 2))
    add("normalization_invert", "Normalization", {"mean": [0.5, -1.0, 2.0], "variance": [0.25, 2.0, 0.0], "invert": True}, (4, 3))
    add("normalization_zero_variance", "Normalization", {"mean": [0.0, -1.0], "variance": [0.0, 2.0], "invert": False}, None,
        data=np.array([[0.0, 1.0], [0.0, 2.0]], g.FLOAT))

    for mode in ("reflect", "constant", "wrap", "nearest"):
        for kind in ("bilinear", "nearest"):
            options = {"fill_mode": mode, "interpolation": kind, "fill_value": 0.7}
            name = f"{mode}_{kind}"
            add("rotation_" + name, "RandomRotation", {"factor": [0.13, 0.13], **options}, (2, 5, 6, 2), True)
            add("zoom_" + name, "RandomZoom", {"height_factor": [0.43, 0.43], "width_factor": [0.71, 0.71], **options}, (2, 5, 6, 1), True)
            add("translation_" + name, "RandomTranslation", {"height_factor": [-0.33, -0.33], "width_factor": [0.87, 0.87], **options}, (2, 5, 6, 1), True)
    add("rotation_back", "RandomRotation", {"factor": [-0.3, -0.3]}, (1, 6, 4, 1), True)
    add("rotation_inference", "RandomRotation", {"factor": 0.3}, (1, 6, 4, 1))
    add("zoom_in", "RandomZoom", {"height_factor": [-0.37, -0.37]}, (2, 5, 7, 1), True)
    add("zoom_inference", "RandomZoom", {"height_factor": 0.37}, (2, 5, 7, 1))
    add("contrast", "RandomContrast", {"factor": [-0.3, 0.3], "value_range": [0.0, 1.0]}, (2, 4, 5, 3), True)
    add("contrast_range", "RandomContrast", {"factor": [-0.9, 0.9], "value_range": [0.2, 0.8]}, (2, 4, 5, 3), True)
    add("contrast_inference", "RandomContrast", {"factor": 0.9}, (2, 4, 5, 3))
    add("brightness", "RandomBrightness", {"factor": [0.15, 0.15], "value_range": [0.0, 1.0]}, (2, 4, 5, 3), True)
    add("brightness_bytes", "RandomBrightness", {"factor": [-0.4, -0.4]}, (2, 4, 5, 1), True, high=255.0)
    add("crop_small_image", "RandomCrop", {"height": 6, "width": 8}, (2, 6, 8, 1), True)
    return cases


def value(name, layer, config, x, dtype=None, **kwargs):
    """What has no gradient."""
    y = np.asarray(getattr(keras.layers, layer)(**config)(x, **kwargs))
    if dtype:
        y = y.astype(dtype)
    case = {"name": name, "layer": layer, "config": config, "inputs": [g.arr(x)], "output": g.arr(y)}
    if "count_weights" in kwargs:
        case["inputs"].append(g.arr(kwargs["count_weights"]))
    return case


def value_cases():
    cases = []
    ints = g.Rand("categories").ints(5, 4, 3)
    for mode in ("one_hot", "multi_hot", "count"):
        config = {"num_tokens": 5, "output_mode": mode}
        cases.append(value("category_" + mode, "CategoryEncoding", config, ints))
        cases.append(value(f"category_{mode}_column", "CategoryEncoding", config, ints[:, :1]))
        cases.append(value(f"category_{mode}_3d", "CategoryEncoding", config, ints.reshape(2, 2, 3)))
    cases.append(value("category_weighted", "CategoryEncoding", {"num_tokens": 5, "output_mode": "count"}, ints,
                       count_weights=g.Rand("count_weights").normal(4, 3)))
    x = np.array([[-1.5, 1.0, 3.4], [0.0, 3.0, 1.3], [0.999, 2.0, 100.0]], g.FLOAT)
    for mode in ("int", "one_hot", "multi_hot", "count"):
        cases.append(value("discretization_" + mode, "Discretization", {"bin_boundaries": [0.0, 1.0, 2.0], "output_mode": mode}, x))
    x = np.array([[12, 1138, 7], [42, 36, -5], [42, 12, 0], [1000, -1000, 0]], "int32")
    vocabulary = [12, 36, 1138, 42]
    for name, config in {
        "plain": {}, "oov3": {"num_oov_indices": 3}, "mask": {"mask_token": 0}, "mask_oov2": {"mask_token": 0, "num_oov_indices": 2},
        "one_hot": {"output_mode": "one_hot"}, "multi_hot_mask": {"output_mode": "multi_hot", "mask_token": 0},
        "count_oov2": {"output_mode": "count", "num_oov_indices": 2, "mask_token": 0},
        "padded": {"output_mode": "multi_hot", "max_tokens": 9, "pad_to_max_tokens": True},
        "tf_idf": {"output_mode": "tf_idf", "idf_weights": [0.5, 0.25, 1.5, 0.75]},
        "tf_idf_oov2_padded": {"output_mode": "tf_idf", "idf_weights": [0.5, 0.25, 1.5, 0.75], "num_oov_indices": 2, "mask_token": 0,
                               "max_tokens": 9, "pad_to_max_tokens": True},
    }.items():
        dtype = "int32" if "output_mode" not in config else "float32"
        cases.append(value("lookup_" + name, "IntegerLookup", {"vocabulary": vocabulary, **config}, x, dtype))
    places = np.array([[0, 1, 2], [5, 4, 3]], "int32")
    cases.append(value("lookup_invert", "IntegerLookup", {"vocabulary": vocabulary, "mask_token": 0, "invert": True}, places, "int32"))
    return cases


def adapt_cases():
    cases = []
    r = g.Rand("adapt")
    x = r.normal(9, 2, 3, shift=3.0)
    for name, axis in (("last", [-1]), ("none", []), ("two", [1, 2])):
        layer = keras.layers.Normalization(axis=axis or None)
        layer.adapt(np.asarray(x, "float32"))
        cases.append({"name": "normalization_" + name, "layer": "Normalization", "config": {"axis": axis}, "x": g.arr(x),
                      "learned": [g.arr(w) for w in layer.get_weights()[:2]]})
    for bins, epsilon, count in ((4, 0.01, 57), (3, 0.01, 501), (5, 0.1, 77), (2, 0.01, 3)):
        x = r.normal(count)
        layer = keras.layers.Discretization(num_bins=bins, epsilon=epsilon)
        layer.adapt(np.asarray(x, "float32"))
        cases.append({"name": f"discretization_{bins}_{count}", "layer": "Discretization", "config": {"num_bins": bins, "epsilon": epsilon},
                      "x": g.arr(x), "learned": [g.arr(np.array(layer.bin_boundaries, "float32"))]})
    x = r.ints(6, 7, 5) - 1
    for name, config in (("plain", {}), ("limited", {"max_tokens": 4, "mask_token": 0})):
        layer = keras.layers.IntegerLookup(**config)
        layer.adapt(x)
        cases.append({"name": "lookup_" + name, "layer": "IntegerLookup", "config": config, "x": g.arr(x),
                      "learned": [g.arr(np.array(layer.get_vocabulary(), "int32"))]})
    for name, config in (("tf_idf", {}), ("tf_idf_limited", {"max_tokens": 5, "mask_token": 0})):
        config = {"output_mode": "tf_idf", **config}
        layer = keras.layers.IntegerLookup(**config)
        layer.adapt(x)
        cases.append({"name": "lookup_" + name, "layer": "IntegerLookup", "config": config, "x": g.arr(x),
                      "learned": [g.arr(np.array(layer.get_vocabulary(), "int32")), g.arr(np.asarray(layer(x), "float32"))]})
    return cases


TEXTS = ["The good, the bad and the UGLY!", "A good film; it's  good\tindeed.", "", "Über allem: ÄRGER und  Wein", "bad bad\x0bbad [UNK] day"]
MORE = ["the worst day", "good good indeed and UGLY", "", "unseen"]


def text_cases():
    cases = []
    for name, config in {
        "default": {}, "length": {"output_sequence_length": 4}, "max_tokens": {"max_tokens": 6}, "lower": {"standardize": "lower"},
        "strip": {"standardize": "strip_punctuation"}, "raw": {"standardize": None}, "characters": {"split": "character"}, "whole": {"split": None},
        "bigrams": {"ngrams": 2}, "only_bigrams": {"ngrams": (2,)}, "trigrams_first": {"ngrams": (3, 1), "output_sequence_length": 5},
        "multi_hot": {"output_mode": "multi_hot"}, "count": {"output_mode": "count", "max_tokens": 7}, "count_bigrams": {"output_mode": "count", "ngrams": 2},
        "tf_idf": {"output_mode": "tf_idf"}, "padded": {"output_mode": "multi_hot", "max_tokens": 40, "pad_to_max_tokens": True},
        "tf_idf_padded": {"output_mode": "tf_idf", "max_tokens": 40, "pad_to_max_tokens": True},
    }.items():
        layer = keras.layers.TextVectorization(**config)
        layer.adapt(TEXTS)
        y = np.asarray(layer(np.array(MORE)))
        y = y.astype("int32" if config.get("output_mode", "int") == "int" else "float32")
        cases.append({"name": name, "config": config, "vocabulary": layer.get_vocabulary(), "bare": layer.get_vocabulary(include_special_tokens=False),
                      "output": g.arr(y)})
    return cases


def string_cases():
    cases = []
    words = ["b", "a", "c", "a", "d", "b", "a", "[UNK]", ""]
    rows = [["a", "c", "x"], ["", "d", "a"], ["[UNK]", "b", "b"]]
    for name, config in {
        "default": {}, "mask": {"mask_token": ""}, "max": {"max_tokens": 3}, "none": {"oov_token": "?"},
        "one_hot": {"output_mode": "one_hot"}, "multi_hot": {"output_mode": "multi_hot", "mask_token": ""}, "count": {"output_mode": "count"},
        "oov2_mask": {"num_oov_indices": 2, "mask_token": ""}, "oov3_max": {"num_oov_indices": 3, "max_tokens": 5},
        "oov3_count": {"num_oov_indices": 3, "max_tokens": 4, "output_mode": "count"},
    }.items():
        layer = keras.layers.StringLookup(**config)
        layer.adapt(np.array(words))
        y = np.asarray(layer(np.array(rows)))
        y = y.astype("int32" if config.get("output_mode", "int") == "int" else "float32")
        cases.append({"name": name, "config": config, "vocabulary": layer.get_vocabulary(), "output": g.arr(y)})
    return cases


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    g.write("preprocessing.json", layer_cases(), values=value_cases(), adapted=adapt_cases())
    g.write("text.json", text_cases(), texts=TEXTS, more=MORE, lookups=string_cases())
