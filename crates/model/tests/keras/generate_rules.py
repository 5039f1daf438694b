"""Makes the rules_*.json files with real Keras 3 on JAX (CPU): activations, losses, optimizers, schedules, regularizers, constraints and
initializers beyond those of generate.py.

    python generate_rules.py                   # writes the seven files beside this one, in about 8 minutes
    python generate_rules.py losses schedules  # writes two of them

Numbers and helpers as in generate.py. Schema: README.md.
"""
import math
import sys

import generate as g
import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src import backend

F = g.FLOAT


# ---------------------------------------------------------------- activations
def sparsemax(x, axis=-1):
    """As in the paper. Keras 3.15.1 sums the cumulative sums of the support where it should take the last, and its rows do not sum to 1."""
    z = -jnp.sort(-x, axis=-1)
    total = jnp.cumsum(z, axis=-1)
    r = jnp.arange(1, x.shape[-1] + 1)
    k = jnp.sum(1 + r * z > total, axis=-1, keepdims=True)
    return jnp.maximum(x - (jnp.take_along_axis(total, k - 1, axis=-1) - 1) / k, 0.0)


backend.nn.sparsemax = sparsemax


def activation_cases():
    cases = []
    wide = np.array([[-88.5, -41.25, -17.5, -9.125], [-4.75, -2.625, 0.0625, 3.375], [6.875, 12.5, 37.25, 71.5]], F)
    kinks = {"hard_silu": [-3.0, 3.0], "celu": [0.0], "hard_tanh": [-1.0, 1.0], "hard_shrink": [-0.5, 0.5], "soft_shrink": [-0.5, 0.5],
             "sparse_plus": [-1.0, 1.0], "log_sigmoid": [0.0], "tanh_shrink": [0.0], "squareplus": [0.0]}
    for a in ["hard_silu", "log_sigmoid", "celu", "glu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "sparse_plus",
              "sparse_sigmoid", "sparsemax", "squareplus"]:
        r = g.Rand("activation_" + a)
        layer = lambda suffix, x: cases.append(g.layer_case(f"activation_{a}{suffix}", "Activation", {"activation": a}, x))
        layer("", r.normal(4, 8, scale=1.5))
        layer("_wide", wide)
        if a in kinks:
            layer("_kink", np.array([kinks[a]], F))
    layer_3d = lambda a: cases.append(g.layer_case(f"activation_{a}_3d", "Activation", {"activation": a}, g.Rand(a).normal(2, 3, 6)))
    layer_3d("glu")
    layer_3d("sparsemax")
    ties = np.array([[0.5, 0.5, 0.25, -1.0], [0.75, 0.75, 0.75, 0.75], [2.0, -1.0, -1.0, 0.5]], F)
    cases.append(g.layer_case("activation_sparsemax_ties", "Activation", {"activation": "sparsemax"}, ties))
    return cases


# ---------------------------------------------------------------- losses
def loss_cases():
    cases = []

    def add(name, cls, config, y_true, y_pred, weight=None, mask=None):
        loss = getattr(keras.losses, cls)(**config)

        def f(p):
            p = p * 1  # a tensor of its own for the mask
            if mask is not None:
                backend.set_keras_mask(p, jnp.asarray(mask))
            return loss(jnp.asarray(y_true), p, sample_weight=None if weight is None else jnp.asarray(weight))

        value = f(jnp.asarray(y_pred))
        grad = jax.grad(lambda p: jnp.sum(f(p)))(jnp.asarray(y_pred))
        opt = lambda a: None if a is None else g.arr(a)
        cases.append({"name": name, "loss": cls, "config": config, "y_true": g.arr(y_true), "y_pred": g.arr(y_pred), "sample_weight": opt(weight),
                      "mask": opt(mask if mask is None else mask.astype("int32")), "value": g.num(value) if value.ndim == 0 else g.arr(value), "grad": g.arr(grad)})

    r = g.Rand("rules_losses")
    reductions = ["sum", "mean", "mean_with_sample_weight", "none"]
    numbers = lambda *s: (r.normal(*s), r.normal(*s))
    positive = lambda *s: (r.uniform(*s, low=0.1, high=4.0), r.uniform(*s, low=0.1, high=4.0))
    signs = lambda *s: (r.ints(2, *s).astype(F) * 2 - 1, r.normal(*s))
    bits = lambda *s: (r.ints(2, *s).astype(F), r.uniform(*s, low=0.03, high=0.97))
    hot = lambda *s: (r.one_hot(s[-1], *s[:-1]), r.probs(*s))
    soft = lambda *s: (r.probs(*s), r.probs(*s))
    # Each class with its domain, and its own options.
    todo = {
        "MeanAbsolutePercentageError": (numbers, [{}]), "MeanSquaredLogarithmicError": (positive, [{}]),
        "LogCosh": (numbers, [{}]), "Huber": (numbers, [{}, {"delta": 0.3}]), "CosineSimilarity": (numbers, [{}, {"axis": 1}]),
        "KLDivergence": (soft, [{}]), "Poisson": (positive, [{}]), "Hinge": (signs, [{}]), "SquaredHinge": (signs, [{}]),
        "CategoricalHinge": (hot, [{}]), "Dice": (bits, [{}, {"axis": -1}, {"axis": [1, 2]}]),
        "Tversky": (bits, [{}, {"alpha": 0.3, "beta": 0.8}, {"axis": -1}]),
        "BinaryFocalCrossentropy": (bits, [{}, {"apply_class_balancing": True}, {"alpha": 0.6, "gamma": 1.5, "apply_class_balancing": True},
                                           {"label_smoothing": 0.2}, {"axis": 1}, {"gamma": 0.0}]),
        "CategoricalFocalCrossentropy": (hot, [{}, {"alpha": 0.7, "gamma": 1.5}, {"label_smoothing": 0.15}, {"axis": 1}]),
        "MeanSquaredError": (numbers, [{}]), "MeanAbsoluteError": (numbers, [{}]), "BinaryCrossentropy": (bits, [{"axis": 1}]),
        "CategoricalCrossentropy": (hot, [{"axis": 1}]),
    }
    for cls, (make, configs) in todo.items():
        for i, config in enumerate(configs):
            name = f"{cls}_{i}"
            add(f"{name}_3d", cls, config, *make(2, 3, 4))
            if i > 0:
                continue
            for reduction in reductions:
                with_reduction = {**config, "reduction": reduction}
                add(f"{name}_{reduction}", cls, with_reduction, *make(2, 3, 4))
                if cls not in ("Dice", "Tversky", "BinaryCrossentropy", "CategoricalCrossentropy"):
                    weight = r.uniform(2, 3, low=0.1, high=2.0)
                    add(f"{name}_{reduction}_weights", cls, with_reduction, *make(2, 3, 4), weight)
                    mask = r.ints(2, 2, 3).astype(bool)
                    add(f"{name}_{reduction}_weights_mask", cls, with_reduction, *make(2, 3, 4), weight, mask)
    for cls in ("MeanSquaredError", "Huber"):
        for reduction in ["sum_over_batch_size", *reductions]:
            config = {"reduction": reduction}
            add(f"{cls}_{reduction}_mask", cls, config, *numbers(2, 3, 4), None, r.ints(2, 2, 3).astype(bool))
            # A weight for each sample of a sequence; Keras then needs the axis.
            add(f"{cls}_{reduction}_weights_column", cls, config, *numbers(2, 3, 4), r.uniform(2, 1, low=0.1, high=2.0))
            add(f"{cls}_{reduction}_weights_column_mask", cls, config, *numbers(2, 3, 4), r.uniform(2, 1, low=0.1, high=2.0), r.ints(2, 2, 3).astype(bool))
            add(f"{cls}_{reduction}_column_weights_mask", cls, config, *numbers(5, 1), r.uniform(5, low=0.1, high=2.0), np.array([1, 0, 1, 1, 0], bool))
            add(f"{cls}_{reduction}_nothing_kept", cls, config, *numbers(4, 2), None, np.zeros(4, bool))
            add(f"{cls}_{reduction}_weights_zero", cls, config, *numbers(4, 2), np.zeros(4, F))
        # (n, t) against (n, t, 1): the axis goes away, so that the mean is over t.
        add(f"{cls}_targets_without_axis", cls, {"reduction": "sum"}, r.normal(3, 4), r.normal(3, 4, 1))
        add(f"{cls}_predictions_without_axis", cls, {"reduction": "sum"}, r.normal(3, 1), r.normal(3))
    for cls in ("Hinge", "SquaredHinge"):
        add(f"{cls}_bits", cls, {}, r.ints(2, 4, 3).astype(F), r.normal(4, 3))
        add(f"{cls}_numbers", cls, {}, r.normal(4, 3), r.normal(4, 3))
    add("LogCosh_large", "LogCosh", {}, r.normal(4, 3, scale=50), r.normal(4, 3, scale=50))
    add("MeanAbsolutePercentageError_zero", "MeanAbsolutePercentageError", {}, np.array([[0.0, 2.0], [1.5, 0.5]], F), np.array([[1e-6, 1.0], [2.5, 0.25]], F))
    add("MeanSquaredLogarithmicError_negative", "MeanSquaredLogarithmicError", {}, r.normal(4, 3), r.normal(4, 3))
    add("KLDivergence_zeros", "KLDivergence", {}, np.array([[0.0, 1.0, 0.0], [0.25, 0.5, 0.25]], F), np.array([[0.125, 0.75, 0.125], [0.5, 0.5, 0.0625]], F))
    add("CosineSimilarity_zero", "CosineSimilarity", {}, np.array([[0.0, 0.0, 0.0], [1.0, 2.0, -1.0]], F), np.array([[1.0, -1.0, 0.5], [0.5, 0.25, 1.0]], F))
    for cls, targets in (("BinaryFocalCrossentropy", lambda: r.ints(2, 5, 4).astype(F)), ("CategoricalFocalCrossentropy", lambda: r.one_hot(4, 5))):
        add(f"{cls}_logits", cls, {"from_logits": True}, targets(), r.normal(5, 4, scale=2))
        add(f"{cls}_logits_smoothing", cls, {"from_logits": True, "label_smoothing": 0.1, "gamma": 3.0}, targets(), r.normal(5, 4, scale=2))

    S = "SparseCategoricalCrossentropy"
    some = np.array([[0, -1, 3, 2], [-1, -1, 1, 0], [3, 2, -1, 1]], "int32")
    for reduction in ["sum_over_batch_size", *reductions]:
        config = {"ignore_class": -1, "reduction": reduction}
        add(f"sparse_ignore_{reduction}", S, config, some, r.probs(3, 4, 4))
        add(f"sparse_ignore_{reduction}_weights", S, {**config, "from_logits": True}, some, r.normal(3, 4, 4), r.uniform(3, 4, low=0.1, high=2.0))
        add(f"sparse_ignore_{reduction}_mask", S, {**config, "from_logits": True}, some, r.normal(3, 4, 4), None, r.ints(2, 3, 4).astype(bool))
    add("sparse_ignore_0", S, {"ignore_class": 0}, np.array([0, 2, 1, 0, 3], "int32"), r.probs(5, 4))
    add("sparse_ignore_column", S, {"ignore_class": 2, "from_logits": True}, np.array([[0], [2], [1], [2]], "int32"), r.normal(4, 4))
    add("sparse_ignore_all", S, {"ignore_class": 1, "from_logits": True}, np.array([1, 1, 1], "int32"), r.normal(3, 4))

    Q = "CategoricalGeneralizedCrossEntropy"
    for i, config in enumerate([{}, {"q": 0.9}, {"q": 0.1, "reduction": "sum"}]):
        add(f"{Q}_{i}", Q, config, r.ints(4, 5), r.probs(5, 4))
        add(f"{Q}_{i}_weights", Q, config, r.ints(4, 5), r.probs(5, 4), r.uniform(5, low=0.1, high=2.0))

    def unit(*shape):
        x = r.normal(*shape)
        return np.round(x / np.linalg.norm(x, axis=-1, keepdims=True), 4).astype(F)

    labels = np.array([0, 1, 2, 0, 1, 2, 1, 0], "int32")
    for i, config in enumerate([{}, {"gamma": 4.0, "margin": 0.25}, {"gamma": 4.0, "remove_diagonal": False}, {"gamma": 4.0, "reduction": "sum"}, {"gamma": 4.0, "reduction": "mean_with_sample_weight"}]):
        add(f"Circle_{i}", "Circle", config, labels, unit(8, 6))
    add("Circle_column", "Circle", {"gamma": 2.0}, labels.reshape(8, 1), unit(8, 6))
    add("Circle_weights", "Circle", {"gamma": 2.0}, labels, unit(8, 6), r.uniform(8, low=0.1, high=2.0))
    return cases


# ---------------------------------------------------------------- optimizers
SIZES = (0.7, 2.0, 0.05, 1.3, 4.0, 0.3, 0.02, 1.0, 0.15, 0.6)


def optimizer_case(name, cls, config, schedule=None, names=None):
    """Ten steps; `names` of the optimizer's variables where those of Keras say too little, `None` for those that only fill a place."""
    r = g.Rand("rules_" + name)
    initial = [r.normal(3, 4), r.normal(5)]
    grads = [[r.normal(3, 4, scale=s), r.normal(5, scale=s, shift=0.1 * s)] for s in SIZES]
    variables = [keras.Variable(v, name=n, dtype=F) for v, n in zip(initial, ("a", "b"))]
    optimizer = getattr(keras.optimizers, cls)(**config, **({"learning_rate": schedule} if schedule else {}))
    after = []
    for step in grads:
        optimizer.apply([jnp.asarray(x) for x in step], variables)
        after.append([g.arr(v.value) for v in variables])
    if config.get("use_ema"):  # as one call of fit, which ends with the averages
        optimizer.finalize_variable_values(variables)
        after = [[g.arr(v.value) for v in variables]]
    known = lambda v: v.path.split("/")[-1] if v is not getattr(optimizer, "_u_product", None) else "u_product"
    names = names or [known(v) for v in optimizer.variables]
    assert len(names) == len(optimizer.variables)
    if schedule:
        config = {**config, "learning_rate": keras.saving.serialize_keras_object(schedule)}
    return {"name": name, "optimizer": cls, "config": config, "initial": [g.arr(a) for a in initial],
            "grads": [[g.arr(a) for a in s] for s in grads], "after": after,
            "state": [{"name": n, "value": g.arr(v.value)} for n, v in zip(names, optimizer.variables) if n]}


def optimizer_cases(rules):
    """Every optimizer with its own settings and the common ones, or what options and schedules do together."""
    cases = []
    S = keras.optimizers.schedules
    add = lambda *args, **more: cases.append(optimizer_case(*args, **more))

    own = {
        "Adagrad": [{}, {"learning_rate": 0.1, "initial_accumulator_value": 0.5, "epsilon": 1e-3}],
        "Adadelta": [{}, {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-4}],
        "Adam": [{"amsgrad": True, "learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}],
        "AdamW": [{}, {"learning_rate": 0.05, "weight_decay": 0.1, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3, "amsgrad": True}],
        "Adamax": [{}, {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}],
        "Nadam": [{}, {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}],
        "Lion": [{}, {"learning_rate": 0.05, "beta_1": 0.7, "beta_2": 0.8}],
        "Lamb": [{}, {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}],
        "Ftrl": [{}, {"learning_rate": 0.1, "learning_rate_power": -0.7, "initial_accumulator_value": 0.3, "l1_regularization_strength": 0.05,
                      "l2_regularization_strength": 0.1, "l2_shrinkage_regularization_strength": 0.02, "beta": 0.2}],
    }
    common = {
        "weight_decay": {"weight_decay": 0.04}, "clipnorm": {"clipnorm": 1.5}, "clipvalue": {"clipvalue": 0.5}, "global_clipnorm": {"global_clipnorm": 2.0},
        "ema": {"use_ema": True, "ema_momentum": 0.7}, "accumulation": {"gradient_accumulation_steps": 3},
    }
    for cls, configs in own.items() if rules else ():
        for i, config in enumerate(configs):
            add(f"{cls}_{i}", cls, config)
        for name, config in common.items():
            if cls != "Adam" and not (cls in ("Lamb", "Ftrl") and name.startswith("clip")):  # Adam: in optimizers.json; the rest keeps the file small
                add(f"{cls}_{name}", cls, {"learning_rate": 0.05, **config})
    for cls in () if rules else ("SGD", "RMSprop", "Adam", "Nadam"):
        base = {"learning_rate": 0.05, **({"momentum": 0.9} if cls == "SGD" else {})}
        add(f"{cls}_ema_default", cls, {**base, "use_ema": True})
        add(f"{cls}_ema_overwrite", cls, {**base, "use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 4})
        add(f"{cls}_accumulation_2_clip_decay", cls, {**base, "gradient_accumulation_steps": 2, "clipnorm": 1.0, "weight_decay": 0.03})
        add(f"{cls}_accumulation_ema", cls, {**base, "gradient_accumulation_steps": 3, "use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2})
        schedules = {"exponential": S.ExponentialDecay(0.2, 4, 0.5), "piecewise": S.PiecewiseConstantDecay([2, 6], [0.2, 0.1, 0.01]),
                     "warmup": S.CosineDecay(0.01, 6, warmup_target=0.2, warmup_steps=3)}
        config = {k: v for k, v in base.items() if k != "learning_rate"}
        for name, schedule in schedules.items():
            add(f"{cls}_{name}", cls, config, schedule)
        add(f"{cls}_schedule_accumulation_decay", cls, {**config, "gradient_accumulation_steps": 3, "weight_decay": 0.03}, schedules["exponential"])
    return cases


# ---------------------------------------------------------------- schedules
def schedule_cases():
    S = keras.optimizers.schedules
    steps = [0, 1, 2, 3, 7, 9, 10, 11, 15, 20, 25, 29, 30, 31, 50, 69, 70, 71, 99, 100, 101, 149, 150, 151, 310, 1000, 12345]
    todo = {
        "exponential": S.ExponentialDecay(0.3, 10, 0.9), "exponential_staircase": S.ExponentialDecay(0.3, 10, 0.9, staircase=True),
        "inverse": S.InverseTimeDecay(0.3, 10, 0.5), "inverse_staircase": S.InverseTimeDecay(0.3, 10, 0.5, staircase=True),
        "piecewise": S.PiecewiseConstantDecay([10, 30, 100], [0.1, 0.05, 0.2, 0.01]), "piecewise_one": S.PiecewiseConstantDecay([10], [0.1, 0.05]),
        "polynomial": S.PolynomialDecay(0.3, 100), "polynomial_power": S.PolynomialDecay(0.3, 100, end_learning_rate=0.02, power=2.5),
        "polynomial_root": S.PolynomialDecay(0.3, 100, end_learning_rate=0.0, power=0.5),
        "polynomial_cycle": S.PolynomialDecay(0.3, 10, end_learning_rate=0.02, power=1.5, cycle=True),
        "cosine": S.CosineDecay(0.3, 100), "cosine_alpha": S.CosineDecay(0.3, 100, alpha=0.1),
        "cosine_warmup": S.CosineDecay(0.0, 100, warmup_target=0.3, warmup_steps=10),
        "cosine_warmup_down": S.CosineDecay(0.5, 50, alpha=0.05, warmup_target=0.3, warmup_steps=30),
        "cosine_target_without_steps": S.CosineDecay(0.1, 50, warmup_target=0.3),
        "restarts": S.CosineDecayRestarts(0.3, 10), "restarts_equal": S.CosineDecayRestarts(0.3, 10, t_mul=1.0, m_mul=0.9, alpha=0.01),
        "restarts_falling": S.CosineDecayRestarts(0.3, 10, t_mul=1.5, m_mul=0.8, alpha=0.1), "restarts_three": S.CosineDecayRestarts(0.3, 5, t_mul=3.0),
    }
    cases = []
    for name, schedule in todo.items():
        rates = [g.num(schedule(i)) for i in steps]
        kept = list(range(len(steps)))
        if name.startswith("restarts"):  # without steps where the logarithm of Keras takes another period than the sum of lengths
            kept = [i for i, step in enumerate(steps) if abs(restarts(schedule, step) - rates[i]) < 1e-4]
            if len(kept) < len(steps):
                print(name, "without steps", [steps[i] for i in range(len(steps)) if i not in kept])
        cases.append({"name": name, "object": keras.saving.serialize_keras_object(schedule), "steps": [steps[i] for i in kept], "rates": [rates[i] for i in kept]})
    return cases


def restarts(s, step):
    start, length, height = 0.0, float(s.first_decay_steps), 1.0
    while step >= start + length:
        start, length, height = start + length, length * s._t_mul, height * s._m_mul
    wave = 0.5 * height * (1 + math.cos(math.pi * (step - start) / length))
    return s.initial_learning_rate * ((1 - s.alpha) * wave + s.alpha)


# ---------------------------------------------------------------- regularizers, constraints
def weight_cases():
    R, C = keras.regularizers, keras.constraints
    cases = []
    for name, rule, shape in [
        ("l1", R.L1(), (4, 3)), ("l1_factor", R.L1(0.3), (2, 3, 4)), ("l2", R.L2(), (4, 3)), ("l2_factor", R.L2(0.2), (5,)),
        ("l1l2", R.L1L2(0.1, 0.2), (4, 3)), ("l1l2_only_l1", R.L1L2(l1=0.1), (4, 3)), ("l1l2_default", R.L1L2(), (4, 3)),
        ("orthogonal", R.OrthogonalRegularizer(), (4, 3)), ("orthogonal_columns", R.OrthogonalRegularizer(0.5, "columns"), (4, 3)),
    ]:
        w = g.Rand(name).normal(*shape)
        value, grad = jax.value_and_grad(lambda x: jnp.asarray(rule(x)))(jnp.asarray(w))
        cases.append({"name": name, "object": keras.saving.serialize_keras_object(rule), "weight": g.arr(w), "penalty": g.num(value), "grad": g.arr(grad)})
    for name, rule, shape in [
        ("non_neg", C.NonNeg(), (4, 3)), ("max_norm", C.MaxNorm(), (4, 3)), ("max_norm_small", C.MaxNorm(0.5), (4, 3)),
        ("max_norm_axis", C.MaxNorm(1.5, axis=1), (4, 3)), ("max_norm_conv", C.MaxNorm(1.5, axis=[0, 1, 2]), (3, 3, 2, 4)),
        ("max_norm_all", C.MaxNorm(1.5, axis=None), (4, 3)),
        ("unit_norm", C.UnitNorm(), (4, 3)), ("unit_norm_axis", C.UnitNorm(axis=-1), (2, 3, 4)),
        ("min_max_norm", C.MinMaxNorm(), (4, 3)), ("min_max_norm_rate", C.MinMaxNorm(1.0, 2.0, rate=0.3, axis=1), (6, 3)),
    ]:
        w = g.Rand(name).normal(*shape)
        cases.append({"name": name, "object": keras.saving.serialize_keras_object(rule), "weight": g.arr(w), "after": g.arr(rule(jnp.asarray(w)))})
    return cases


# ---------------------------------------------------------------- initializers
def initializer_cases():
    DRAWS, TRUNC = 64, 0.87962566103423978
    cases = []
    for mode in ("fan_in", "fan_out", "fan_avg"):
        for distribution in ("truncated_normal", "untruncated_normal", "uniform"):
            for scale, shape in ((1.0, (64, 32)), (0.3, (3, 3, 16, 32))):
                config = {"scale": scale, "mode": mode, "distribution": distribution}
                draws = np.stack([np.asarray(keras.initializers.VarianceScaling(**config, seed=1000 + i)(shape), np.float64) for i in range(DRAWS)])
                field = int(np.prod(shape[:-2]))
                fans = {"fan_in": shape[-2] * field, "fan_out": shape[-1] * field}
                fans["fan_avg"] = sum(fans.values()) / 2
                stddev = math.sqrt(scale / fans[mode])
                limit = {"truncated_normal": 2 * stddev / TRUNC, "uniform": math.sqrt(3) * stddev}.get(distribution)
                assert abs(draws.std() - stddev) < 0.01 * stddev
                cases.append({"name": f"variance_scaling_{mode}_{distribution}_{len(shape)}d", "class": "VarianceScaling", "config": config,
                              "shape": list(shape), "values": int(draws.size), "mean": float(draws.mean()), "std": float(draws.std()),
                              "min": float(draws.min()), "max": float(draws.max()), "theory": {"mean": 0.0, "stddev": stddev, "limit": limit}})
    return cases


FILES = {"activations": activation_cases, "losses": loss_cases, "schedules": schedule_cases, "weights": weight_cases,
         "initializers": initializer_cases, "optimizers": lambda: optimizer_cases(True), "options": lambda: optimizer_cases(False)}

if __name__ == "__main__":
    for name in sys.argv[1:] or FILES:
        g.write(f"rules_{name}.json", FILES[name]())
