"""Models of real Keras for the interop tests: one for each layer class with options that are not the defaults, and graphs of every shape.

`all_models()` gives (name, model) pairs; `example_inputs(model)` makes inputs for one of them.
"""
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(7)


def sequential(shape, *stack, dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *stack])


L = layers
REG, CON = keras.regularizers, keras.constraints
INIT = keras.initializers


def adapted(layer):
    layer.adapt(rng.normal(3, 2, size=(16, 6, 5)).astype("float32"))
    return layer


def single_layers():
    """(name, input shape, layer) for layers of one input."""
    seq, img, vol, vec = (6, 5), (9, 8, 4), (5, 6, 4, 2), (7,)
    many = [
        ("dense", vec, L.Dense(3, activation="gelu", kernel_initializer="he_normal", kernel_regularizer=REG.L1L2(0.1, 0.2),
                               bias_regularizer="l2", activity_regularizer=REG.L2(0.1), kernel_constraint=CON.MaxNorm(1.5, axis=0), bias_constraint="non_neg")),
        ("dense_nobias", seq, L.Dense(3, use_bias=False, activation="softmax", kernel_initializer=INIT.VarianceScaling(2.0, "fan_out", "uniform"))),
        ("activation", vec, L.Activation("hard_silu")),
        ("conv1d", seq, L.Conv1D(4, 3, strides=2, padding="same", activation="relu")),
        ("conv1d_causal", seq, L.Conv1D(4, 3, padding="causal", dilation_rate=2)),
        ("conv2d", img, L.Conv2D(6, (3, 2), strides=(2, 1), padding="same", groups=2, activation="elu")),
        ("conv2d_dilated", img, L.Conv2D(3, 3, dilation_rate=2, use_bias=False)),
        ("conv3d", vol, L.Conv3D(3, 2, strides=(1, 2, 1), padding="valid", activation="tanh")),
        ("conv1d_transpose", seq, L.Conv1DTranspose(4, 3, strides=2, padding="same")),
        ("conv2d_transpose", img, L.Conv2DTranspose(4, 3, strides=2, padding="valid", activation="relu")),
        ("conv2d_transpose_pad", img, L.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1)),
        ("conv3d_transpose", vol, L.Conv3DTranspose(2, 2, strides=2)),
        ("depthwise1d", seq, L.DepthwiseConv1D(3, depth_multiplier=2)),
        ("depthwise2d", img, L.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same", activation="relu")),
        ("separable1d", seq, L.SeparableConv1D(4, 3, depth_multiplier=2)),
        ("separable2d", img, L.SeparableConv2D(5, 3, padding="same", strides=2, activation="relu")),
        ("max1d", seq, L.MaxPooling1D(2, strides=1, padding="same")), ("max2d", img, L.MaxPooling2D((2, 3), strides=(1, 2))),
        ("max3d", vol, L.MaxPooling3D(2)), ("avg1d", seq, L.AveragePooling1D(3, strides=2, padding="same")),
        ("avg2d", img, L.AveragePooling2D(3, strides=2, padding="same")), ("avg3d", vol, L.AveragePooling3D((2, 1, 2))),
        ("gavg1d", seq, L.GlobalAveragePooling1D()), ("gavg2d", img, L.GlobalAveragePooling2D(keepdims=True)), ("gavg3d", vol, L.GlobalAveragePooling3D()),
        ("gmax1d", seq, L.GlobalMaxPooling1D()), ("gmax2d", img, L.GlobalMaxPooling2D(keepdims=True)), ("gmax3d", vol, L.GlobalMaxPooling3D()),
        ("flatten", img, L.Flatten()), ("reshape", seq, L.Reshape((3, -1))), ("permute", img, L.Permute((3, 1, 2))), ("repeat", vec, L.RepeatVector(3)),
        ("zeropad1d", seq, L.ZeroPadding1D((1, 2))), ("zeropad2d", img, L.ZeroPadding2D(((1, 0), (2, 3)))), ("zeropad3d", vol, L.ZeroPadding3D(1)),
        ("crop1d", seq, L.Cropping1D((1, 2))), ("crop2d", img, L.Cropping2D(((1, 0), (2, 3)))), ("crop3d", vol, L.Cropping3D((1, 2, 1))),
        ("up1d", seq, L.UpSampling1D(3)), ("up2d", img, L.UpSampling2D((2, 3), interpolation="nearest")),
        ("up2d_bilinear", img, L.UpSampling2D(2, interpolation="bilinear")), ("up3d", vol, L.UpSampling3D(2)),
        ("simple_rnn", seq, L.SimpleRNN(4, activation="relu", dropout=0.1)), ("simple_rnn_seq", seq, L.SimpleRNN(4, return_sequences=True, go_backwards=True, use_bias=False)),
        ("gru", seq, L.GRU(4, recurrent_activation="hard_sigmoid")), ("gru_before", seq, L.GRU(4, reset_after=False, return_sequences=True)),
        ("gru_nobias", seq, L.GRU(3, use_bias=False, go_backwards=True)),
        ("lstm", seq, L.LSTM(4, unit_forget_bias=False, recurrent_dropout=0.2)), ("lstm_seq", seq, L.LSTM(4, return_sequences=True, go_backwards=True)),
        ("lstm_relu", seq, L.LSTM(3, activation="relu", recurrent_activation="tanh")),
        ("bidirectional", seq, L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum")),
        ("bidirectional_back", seq, L.Bidirectional(L.LSTM(3), backward_layer=L.LSTM(3, activation="relu", go_backwards=True), merge_mode="ave")),
        ("time_distributed", img, L.TimeDistributed(L.Conv1D(3, 2, activation="relu"))),
        ("time_distributed_bn", seq, L.TimeDistributed(L.BatchNormalization())),
        ("rnn_cells", seq, L.RNN([L.LSTMCell(3), L.GRUCell(4)], return_sequences=True)), ("rnn_cell", seq, L.RNN(L.SimpleRNNCell(4))),
        ("rnn_stacked", seq, L.RNN(L.StackedRNNCells([L.GRUCell(3), L.GRUCell(2)]))),
        ("dropout", vec, L.Dropout(0.4, seed=3)), ("spatial1d", seq, L.SpatialDropout1D(0.3)), ("spatial2d", img, L.SpatialDropout2D(0.3)), ("spatial3d", vol, L.SpatialDropout3D(0.3)),
        ("gnoise", vec, L.GaussianNoise(0.3)), ("gdrop", vec, L.GaussianDropout(0.3)), ("adrop", vec, L.AlphaDropout(0.3)),
        ("batchnorm", img, L.BatchNormalization(momentum=0.9, epsilon=1e-2, center=False)), ("batchnorm_axis", img, L.BatchNormalization(axis=1)),
        ("layernorm", img, L.LayerNormalization(axis=[1, 2], epsilon=1e-5)), ("layernorm_noscale", seq, L.LayerNormalization(scale=False)),
        ("groupnorm", img, L.GroupNormalization(2, epsilon=1e-4)), ("rmsnorm", seq, L.RMSNormalization(epsilon=1e-5)), ("unitnorm", seq, L.UnitNormalization(axis=1)),
        ("leaky", vec, L.LeakyReLU(negative_slope=0.1)), ("prelu", img, L.PReLU(shared_axes=[1, 2])), ("elu", vec, L.ELU(alpha=0.7)),
        ("relu", vec, L.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.3)), ("softmax", seq, L.Softmax(axis=1)), ("identity", vec, L.Identity()),
        ("activityreg", vec, L.ActivityRegularization(0.1, 0.2)), ("masking_row", seq, L.Masking(0.5)),
        ("rescaling", img, L.Rescaling(1 / 127.5, offset=-1)), ("resizing", img, L.Resizing(5, 7, interpolation="bilinear")), ("centercrop", img, L.CenterCrop(4, 5)),
        ("normalization", seq, adapted(L.Normalization())), ("normalization_given", seq, L.Normalization(mean=[1, 2, 3, 4, 5], variance=[1, 2, 3, 4, 5.5])),
        ("discretization", vec, L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5])),
        ("randomflip", img, L.RandomFlip("horizontal")), ("randomrot", img, L.RandomRotation(0.2, fill_mode="nearest")), ("randomzoom", img, L.RandomZoom(0.2)),
        ("randomtrans", img, L.RandomTranslation(0.1, 0.2)), ("randomcontrast", img, L.RandomContrast(0.3)), ("randombright", img, L.RandomBrightness(0.2)),
    ]
    for name, shape, layer in many:
        yield name, sequential(shape, layer)
    yield "embedding", sequential((6,), L.Embedding(9, 4, embeddings_initializer="normal"), dtype="int32")
    yield "embedding_float", keras.Sequential([keras.Input((6,)), L.Embedding(9, 4)])
    yield "category", sequential((6,), L.CategoryEncoding(9, output_mode="multi_hot"), dtype="int32")
    yield "mask_row", sequential((6,), L.Embedding(9, 4, mask_zero=True), L.LSTM(3, return_sequences=True), L.Dropout(0.2), L.GRU(3), dtype="int32")
    yield "mask_bi", sequential((6,), L.Embedding(9, 4, mask_zero=True), L.Bidirectional(L.LSTM(3, return_sequences=True)), L.GlobalAveragePooling1D(), dtype="int32")
    for activation in ["relu", "sigmoid", "tanh", "softmax", "log_softmax", "elu", "selu", "gelu", "silu", "softplus", "softsign", "exponential", "leaky_relu",
                       "hard_sigmoid", "relu6", "mish", "log_sigmoid", "celu", "glu", "hard_tanh", "linear", keras.layers.LeakyReLU()]:
        name = getattr(activation, "name", activation)
        yield f"act_{name}", sequential((6,), L.Dense(4, activation=activation))


def graphs():
    """Functional models of every shape."""
    i, j = keras.Input((6, 8), name="i"), keras.Input((6, 8), name="j")
    t = keras.Input((6,), dtype="int32", name="t")
    v = keras.Input((5,), name="v")
    d = lambda n, **k: L.Dense(n, **k)
    M = keras.Model
    flat = lambda x: d(2)(L.Flatten()(x))
    # Operations.
    table = {
        "add": lambda: i + j, "scale": lambda: i * 2.0 + 1, "rsub": lambda: 1 - i, "div": lambda: i / (ops.abs(j) + 1), "pow": lambda: abs(i) ** 1.5, "neg": lambda: -i,
        "matmul": lambda: i @ ops.transpose(j, (0, 2, 1)), "pick": lambda: i[:, 0], "pick_last": lambda: i[:, -1, 2:], "slices": lambda: i[:, 1:5:2, ::-1], "newaxis": lambda: i[..., None],
        "mean": lambda: ops.mean(i, axis=1), "mean_keep": lambda: ops.mean(i, axis=[1, 2], keepdims=True), "sum": lambda: ops.sum(i, -1), "max": lambda: ops.max(i, axis=-1),
        "min": lambda: ops.min(i, axis=1, keepdims=True), "var": lambda: ops.var(i, axis=1), "std": lambda: ops.std(i, axis=-1, keepdims=True), "prod": lambda: ops.prod(i, axis=-1),
        "reshape": lambda: ops.reshape(i, (-1, 48)), "reshape2": lambda: ops.reshape(i, (-1, 3, 16)), "concat": lambda: ops.concatenate([i, j], axis=-1), "stack": lambda: ops.stack([i, j], axis=1),
        "expand": lambda: ops.expand_dims(i, 1), "squeeze": lambda: ops.squeeze(i[:, :1], 1), "relu": lambda: ops.relu(i), "softmax": lambda: ops.softmax(i, axis=1), "tanh": lambda: ops.tanh(i),
        "sigmoid": lambda: ops.sigmoid(i), "silu": lambda: ops.silu(i), "leaky": lambda: ops.leaky_relu(i, 0.1), "gelu": lambda: ops.gelu(i, approximate=False), "gelu_tanh": lambda: ops.gelu(i),
        "elu": lambda: ops.elu(i), "softplus": lambda: ops.softplus(i), "exp": lambda: ops.exp(i), "sqrt": lambda: ops.sqrt(abs(i)), "square": lambda: ops.square(i), "log": lambda: ops.log1p(abs(i)),
        "split": lambda: ops.split(i, 2, axis=1)[1], "where": lambda: ops.where(i > 0, i, j), "where_const": lambda: ops.where(i > 0, i, -1.0), "clip": lambda: ops.clip(i, -0.5, 0.5),
        "swap": lambda: ops.swapaxes(i, 1, 2), "maximum": lambda: ops.maximum(i, 0.5), "minimum": lambda: ops.minimum(i, j), "onehot": lambda: ops.one_hot(ops.cast(abs(i), "int32"), 4),
        "normalize": lambda: ops.normalize(i), "take": lambda: ops.take(i, [0, 2], axis=1), "take_one": lambda: ops.take(i, 3, axis=2), "constant": lambda: i + ops.convert_to_tensor(np.arange(8, dtype="float32")),
        "logical": lambda: ops.cast(ops.logical_and(i > 0, j < 0.3), "float32"), "argmax": lambda: ops.cast(ops.argmax(i, axis=-1), "float32"), "repeat": lambda: ops.repeat(i, 2, axis=1),
        "tile": lambda: ops.tile(i, [1, 2, 1]), "pad": lambda: ops.pad(i, ((0, 0), (1, 1), (0, 2))), "flip": lambda: ops.flip(i, axis=1), "floor": lambda: ops.floor(i * 3), "mod": lambda: ops.mod(i, 0.7),
        "logsumexp": lambda: ops.logsumexp(i, axis=-1), "floordiv": lambda: i // 0.3, "any": lambda: ops.cast(ops.any(i > 1, axis=-1), "float32"),
    }
    for name, f in table.items():
        yield f"op_{name}", M([i, j], d(2)(f()) if name not in ("logical", "argmax", "any") else f())
    # Graphs.
    shared = d(5, activation="tanh", name="shared")
    yield "shared", M([i, j], L.Concatenate()([shared(i), shared(j), shared(ops.relu(i))]))
    h = d(8, activation="relu")(i)
    yield "residual", M(i, d(2)(L.LayerNormalization()(L.Add()([i, h]))))
    yield "outputs", M([i, v], [d(3, name="kind")(L.Flatten()(i)), d(1, name="size")(v), h])
    yield "dicts", M({"b": i, "a": v}, {"y": d(3)(L.Flatten()(i)), "x": d(1)(v)})
    yield "names", M({"second": j, "first": i}, d(2)(i - j))
    base = keras.Sequential([keras.Input((6, 8)), d(7, activation="relu"), L.BatchNormalization()], name="base")
    yield "nested", M([i, j], L.Multiply()([base(i), base(j, training=False)]))
    inner = M([i, j], [d(3)(i), d(4)(j)], name="inner")
    a, b = inner([j, i])
    yield "nested_two", M([i, j], L.Concatenate()([a, b, inner([i, j])[0]]))
    deep = M(i, base(d(8)(i)), name="deep")
    yield "nested_deep", M(j, flat(deep(j)))
    yield "sequential_in_sequential", keras.Sequential([keras.Input((6, 8)), base, L.Flatten(), keras.Sequential([d(3), d(2)])])
    yield "time_distributed_model", M(keras_in := keras.Input((3, 6, 8)), L.TimeDistributed(deep)(keras_in))
    for k in ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]:
        yield f"merge_{k}", M([i, j], getattr(L, k)()([i, j]))
    yield "dot", M([i, j], L.Dot(axes=(1, 1), normalize=True)([i, j]))
    yield "concat_axis", M([i, j], L.Concatenate(axis=1)([i, j]))
    # Attention.
    yield "mha", M([i, j], L.MultiHeadAttention(2, 3, value_dim=4, output_shape=5, dropout=0.1)(i, j))
    yield "mha_key", M([i, j], L.MultiHeadAttention(2, 3, use_bias=False)(i, value=j, key=i))
    y, s = L.MultiHeadAttention(2, 3)(i, i, use_causal_mask=True, return_attention_scores=True)
    yield "mha_scores", M(i, [y, s])
    yield "attention", M([i, j], L.Attention(use_scale=True)([i, j]))
    yield "attention_three", M([i, j], L.Attention(score_mode="concat")([i, j, j], use_causal_mask=True))
    yield "additive", M([i, j], L.AdditiveAttention()([i, j]))
    y, s = L.Attention()([i, j], return_attention_scores=True)
    yield "attention_scores", M([i, j], [y, s])
    # States and masks.
    x, h1, c1 = L.LSTM(4, return_state=True, return_sequences=True)(i)
    yield "states", M([i, j], L.LSTM(4)(j, initial_state=[h1, c1]))
    yield "state_gru", M([i, v], L.GRU(3)(i, initial_state=d(3)(v)))
    z = L.Bidirectional(L.GRU(3, return_state=True))(i)
    yield "states_bi", M(i, L.Concatenate()(z))
    e = L.Embedding(9, 8, mask_zero=True)
    yield "mask", M(t, d(2)(L.LSTM(4)(e(t))))
    yield "mask_through", M(t, L.GRU(3)(L.Dropout(0.1)(d(5)(L.LSTM(4, return_sequences=True)(e(t))))))
    yield "mask_lost", M(t, L.GRU(3)(e(t) * 2.0))
    yield "mask_state", M([t, v], L.GRU(3)(e(t), initial_state=d(3)(v)))
    yield "mask_merge", M([t, i], L.LSTM(4)(L.Add()([e(t), i])))
    yield "mask_merge_both", M(t, L.LSTM(4)(L.Add()([e(t), L.Embedding(9, 8, mask_zero=True)(t)])))
    yield "mask_concat", M(t, L.LSTM(4)(L.Concatenate(axis=1)([e(t), L.Embedding(9, 8, mask_zero=True)(t)])))
    yield "masking", M(i, L.LSTM(4)(L.Masking(0.0)(ops.relu(i) * ops.cast(i[:, :, :1] > 0, "float32"))))
    yield "mask_given", M([i, v], L.LSTM(4)(i, mask=ops.any(ops.expand_dims(ops.concatenate([v, v[:, :1]], -1), -1) > 0, axis=-1)))
    m = keras.Input((6,), dtype="bool", name="m")
    yield "mask_input", M([i, m], L.GlobalAveragePooling1D()(L.GRU(3, return_sequences=True)(i, mask=m)))
    yield "mask_mha", M([t, i], L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 3)(e(t), e(t))))
    yield "mask_mha_query", M([t, i], L.MultiHeadAttention(2, 3)(i, e(t)))
    yield "mask_attention", M([t, i], L.Attention()([i, e(t)]))
    yield "mask_pool", M(t, L.GlobalAveragePooling1D()(e(t)))
    yield "mask_time", M(t, L.LSTM(3)(L.TimeDistributed(d(3))(e(t))))
    yield "mask_bi_fn", M(t, L.Bidirectional(L.LSTM(3), merge_mode="mul")(e(t)))
    enc = keras.Sequential([keras.Input((6,), dtype="int32"), L.Embedding(9, 8, mask_zero=True), L.LSTM(3, return_sequences=True)], name="encoder")
    yield "mask_nested", M(t, L.LSTM(3)(enc(t)))
    yield "frozen", M(i, d(2)(L.Dense(3, trainable=False)(i)))
    yield "training_flags", M(i, d(2)(L.Dropout(0.5)(L.BatchNormalization()(i, training=False), training=True)))
    # The order of layers: several paths with layers of one class.
    left, right = d(4)(v), d(4)(d(6)(d(3)(v)))
    yield "paths", M([v, i], d(2)(L.Concatenate()([left, right, d(4)(L.Flatten()(i)), v])))
    k = d(4, name="zz")(v)
    yield "paths_masks", M([t, v], d(3)(L.Concatenate()([d(3)(k), L.LSTM(2)(L.Masking()(d(3)(e(t)))), L.LSTM(2)(e(t))])))
    yield "unit", M(i, L.Identity()(i))


def all_models():
    keras.utils.set_random_seed(1)
    for source in (single_layers(), graphs()):
        for name, model in source:
            randomise(model)
            yield name, model


def randomise(model):
    """Weights that are all different from their defaults, biases too."""
    for variable in model.weights:
        value = np.asarray(variable)
        # Statistics are taken over when a layer adapts, not when they are assigned.
        if not np.issubdtype(value.dtype, np.floating) or variable.path.startswith("normalization"):
            continue
        noise = rng.normal(size=value.shape).astype("float32") * 0.3
        variable.assign(np.abs(value + noise) + 0.1 if "variance" in variable.path else value + noise)


def example_inputs(model, batch=3):
    def one(tensor):
        shape = (tensor.shape[0] or batch, *tensor.shape[1:])
        if "int" in tensor.dtype:
            return rng.integers(0, 6, shape).astype("int32")
        if tensor.dtype == "bool":
            return rng.integers(0, 2, shape).astype(bool)
        if tensor.name and "embedding_float" in model.name:
            return rng.integers(0, 6, shape).astype("float32")
        return np.round(rng.normal(size=shape), 2).astype("float32")

    values = [one(tensor) for tensor in model.inputs]
    if any(layer.__class__.__name__ == "Embedding" for layer in model.layers[:1]) and "int" not in model.inputs[0].dtype:
        values[0] = rng.integers(0, 6, values[0].shape).astype("float32")
    return values
