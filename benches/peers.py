"""Training steps of two models in PyTorch and Keras, for RESULTS.md: a ResNet of 20 layers on 32x32x3 and a transformer block of 4 heads.

    python benches/peers.py torch | torch-compile | keras        # KERAS_BACKEND=jax | tensorflow; JIT=1 or 0

Prints the median time of a step in milliseconds: of a whole epoch through `fit` over its steps for Keras, of a step on a batch in memory for
PyTorch. `BENCH_THREADS` (2 by default) limits the threads. The models are those of crates/bench/src/rows/step.rs.
"""
import os, statistics, sys, time

T = os.environ.get("BENCH_THREADS", "2")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(name, T)
import numpy as np

rng = np.random.default_rng(0)
STEPS, EPOCHS = 6, 7


def show(name, times):
    print(f"{name} {statistics.median(times) * 1e3:.2f} ms (least {min(times) * 1e3:.2f}, {len(times)} samples)", flush=True)


def keras_models():
    import keras
    from keras import layers as L

    def conv(x, filters, size, strides):
        return L.Conv2D(filters, size, strides, "same", use_bias=False)(x)

    i = keras.Input((32, 32, 3))
    x = L.ReLU()(L.BatchNormalization()(conv(i, 16, 3, 1)))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            halves = stage > 0 and block == 0
            inner = L.ReLU()(L.BatchNormalization()(conv(x, filters, 3, 2 if halves else 1)))
            inner = L.BatchNormalization()(conv(inner, filters, 3, 1))
            x = L.ReLU()(L.Add()([inner, conv(x, filters, 1, 2) if halves else x]))
    resnet = keras.Model(i, L.Dense(10, "softmax")(L.GlobalAveragePooling2D()(x)))

    i = keras.Input((64, 128))
    x = L.LayerNormalization()(L.Add()([i, L.MultiHeadAttention(4, 32)(i, i)]))
    x = L.LayerNormalization()(L.Add()([x, L.Dense(128)(L.Dense(512, "relu")(x))]))
    block = keras.Model(i, L.Dense(10, "softmax")(L.GlobalAveragePooling1D()(x)))
    y = rng.integers(0, 10, 32 * STEPS)
    for name, model, shape in ("step_resnet20_b32", resnet, (32, 32, 3)), ("step_attention_b32", block, (64, 128)):
        x = rng.standard_normal((32 * STEPS, *shape), dtype="f4")
        model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=os.environ.get("JIT", "1") == "1")
        times = []

        class Clock(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                self.t = time.perf_counter()

            def on_epoch_end(self, epoch, logs=None):
                times.append((time.perf_counter() - self.t) / STEPS)

        model.fit(x, y, batch_size=32, epochs=EPOCHS + 2, verbose=0, shuffle=False, callbacks=[Clock()])
        show(f"{name} keras-{keras.backend.backend()}", times[2:])


def torch_models(compiled):
    import torch
    from torch import nn
    import torch.nn.functional as F

    torch.set_num_threads(int(T))

    class Block(nn.Module):
        def __init__(s, a, b, stride):
            super().__init__()
            s.c1, s.b1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
            s.c2, s.b2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
            s.short = nn.Conv2d(a, b, 1, stride, bias=False) if stride > 1 else nn.Identity()

        def forward(s, x):
            return F.relu(s.b2(s.c2(F.relu(s.b1(s.c1(x))))) + s.short(x))

    blocks, width = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            blocks.append(Block(width, filters, 2 if stage and not block else 1))
            width = filters
    resnet = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    class Encoder(nn.Module):
        def __init__(s):
            super().__init__()
            s.a, s.n1, s.n2 = nn.MultiheadAttention(128, 4, batch_first=True), nn.LayerNorm(128, 1e-3), nn.LayerNorm(128, 1e-3)
            s.d1, s.d2, s.out = nn.Linear(128, 512), nn.Linear(512, 128), nn.Linear(128, 10)

        def forward(s, x):
            x = s.n1(x + s.a(x, x, x, need_weights=False)[0])
            return s.out(s.n2(x + s.d2(F.relu(s.d1(x)))).mean(1))

    y = torch.randint(0, 10, (32,))
    pictures = torch.randn(32, 3, 32, 32)
    last = torch.channels_last
    for name, model, x in (
        ("step_resnet20_b32", resnet, pictures),
        ("step_resnet20_b32 nhwc", resnet.to(memory_format=last), pictures.contiguous(memory_format=last)),
        ("step_attention_b32", Encoder(), torch.randn(32, 64, 128)),
    ):
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        loss = lambda x, y: F.cross_entropy(model(x), y)
        if compiled:
            loss = torch.compile(loss)

        def step():
            optimizer.zero_grad(set_to_none=True)
            value = loss(x, y)
            value.backward()
            optimizer.step()
            return value.item()

        for _ in range(5):
            step()
        times = []
        for _ in range(40):
            t = time.perf_counter()
            step()
            times.append(time.perf_counter() - t)
        show(f"{name} torch-{'compile' if compiled else 'eager'}", times)


if len(sys.argv) != 2 or sys.argv[1] not in ("torch", "torch-compile", "keras"):
    sys.exit(__doc__)
if sys.argv[1] == "keras":
    keras_models()
else:
    torch_models(sys.argv[1] == "torch-compile")
