"""Makes einsum.json with real Keras 3 on JAX (CPU): outputs and gradients of EinsumDense.

    python generate_einsum.py
"""
import sys

import generate as g
from generate_norm import case

CASES = [
    ("dense", {"equation": "ab,bc->ac", "output_shape": 5, "bias_axes": "c", "activation": "tanh"}, (3, 4)),
    ("sequence", {"equation": "abc,cd->abd", "output_shape": [None, 5], "bias_axes": "d"}, (2, 3, 4)),
    ("sequence_no_bias", {"equation": "abc,cd->abd", "output_shape": [None, 5]}, (2, 3, 4)),
    ("ellipsis_left", {"equation": "...x,xy->...y", "output_shape": 5, "bias_axes": "y"}, (2, 3, 2, 4)),
    ("ellipsis_left_short", {"equation": "...x,xy->...y", "output_shape": 5, "bias_axes": "y"}, (2, 4)),
    ("ellipsis_left_two", {"equation": "...xz,xzy->...y", "output_shape": [5], "bias_axes": "y", "activation": "relu"}, (2, 3, 2, 4)),
    ("ellipsis_right", {"equation": "ab...,bc->ac...", "output_shape": 5, "bias_axes": "c"}, (2, 3, 2, 4)),
    ("ellipsis_right_short", {"equation": "ab...,bc->ac...", "output_shape": 5, "bias_axes": "c"}, (2, 3)),
    ("heads", {"equation": "abc,cde->abde", "output_shape": [None, 2, 3], "bias_axes": "de"}, (2, 3, 4)),
    ("heads_back", {"equation": "abde,dec->abc", "output_shape": [None, 4], "bias_axes": "c"}, (2, 3, 2, 3)),
    ("bias_before", {"equation": "abc,cd->abd", "output_shape": [3, 5], "bias_axes": "b"}, (2, 3, 4)),
    ("bias_of_two", {"equation": "abc,cd->abd", "output_shape": [3, 5], "bias_axes": "bd"}, (2, 3, 4)),
    ("shared_axis", {"equation": "abc,bcd->abd", "output_shape": [3, 5], "bias_axes": "bd"}, (2, 3, 4)),
    ("permuted", {"equation": "abc,dc->adb", "output_shape": [5, None], "bias_axes": "d"}, (2, 3, 4)),
    ("summed", {"equation": "abc,cd->ad", "output_shape": 5, "bias_axes": "d"}, (2, 3, 4)),
    ("outer", {"equation": "ab,c->abc", "output_shape": [None, 5], "bias_axes": "c"}, (2, 3)),
    ("scale", {"equation": "abc,c->abc", "output_shape": [None, 4]}, (2, 3, 4)),
]


def cases():
    out = []
    for name, config, shape in CASES:
        x = g.Rand(name + ".x").normal(*shape)
        out.append(case("einsum_" + name, "EinsumDense", config, [x]))
    return out


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    g.write("einsum.json", cases())
