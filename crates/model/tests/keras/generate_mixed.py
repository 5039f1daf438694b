"""Makes mixed.json and loss_scale.json with real Keras 3 on JAX (CPU): layers and training under mixed policies, and LossScaleOptimizer.

    python generate_mixed.py           # writes the two files beside this one

Numbers and helpers as in generate.py. Narrow outputs and gradients are written as the f32 that they widen to.
"""
import sys

import generate as g
import jax.numpy as jnp
import keras
import numpy as np

POLICIES = ("mixed_float16", "mixed_bfloat16")

policy_now = "float32"
clear_session = keras.utils.clear_session


def clear_and_set_policy():
    """generate.py clears the session for each model, and with it the policy."""
    clear_session()
    keras.config.set_dtype_policy(policy_now)


keras.utils.clear_session = clear_and_set_policy


def stateless_call(layer, trainable, state, *inputs, **kwargs):
    """As Layer.stateless_call, which skips what __call__ does: casting inputs and weights."""
    mapping = list(zip(layer.trainable_variables, trainable)) + list(zip(layer.non_trainable_variables, state))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        outputs = layer(*inputs, **kwargs)
    after = [scope.get_current_value(v) for v in layer.non_trainable_variables]
    return outputs, [old if new is None else new for old, new in zip(state, after)]


def layer_cases():
    plain, keras.layers.Layer.stateless_call = keras.layers.Layer.stateless_call, stateless_call
    cases = []
    todo = [
        ("dense_relu", "Dense", {"units": 6, "activation": "relu"}, (5, 20)),
        ("dense_3d_tanh", "Dense", {"units": 4, "activation": "tanh"}, (3, 5, 6)),
        ("dense_softmax", "Dense", {"units": 5, "activation": "softmax"}, (4, 7)),
        ("conv_tanh", "Conv2D", {"filters": 4, "kernel_size": 3, "activation": "tanh"}, (2, 6, 7, 3)),
        ("conv_same_strides2", "Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, (2, 7, 5, 2)),
        ("conv_groups2", "Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2}, (2, 5, 6, 4)),
        ("max_pool", "MaxPooling2D", {"pool_size": 2}, (2, 6, 7, 3)),
        ("average_pool_same", "AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (2, 5, 6, 2)),
        ("batch_norm", "BatchNormalization", {}, (6, 3, 4)),
        ("batch_norm_training", "BatchNormalization", {}, (6, 3, 4)),
        ("embedding", "Embedding", {"input_dim": 7, "output_dim": 5}, (3, 4)),
        ("lstm", "LSTM", {"units": 5}, (3, 6, 4)),
        ("lstm_sequences_relu", "LSTM", {"units": 4, "return_sequences": True, "activation": "relu"}, (2, 5, 3)),
        ("gelu", "Activation", {"activation": "gelu"}, (4, 7)),
        ("log_softmax", "Activation", {"activation": "log_softmax"}, (4, 7)),
    ]
    for policy in POLICIES:
        for name, cls, config, shape in todo:
            name = f"{name}_{policy}"
            r = g.Rand(name + ".x")
            x = r.ints(7, *shape) if cls == "Embedding" else r.normal(*shape)
            if cls == "MaxPooling2D":  # no ties after rounding to bf16
                x = (r.g.permutation(int(np.prod(shape))) - 100.0).reshape(shape).astype("float32")
            training = "training" in name
            layer = getattr(keras.layers, cls)(**config, dtype=policy)
            layer.build(shape)
            assert all(w.dtype == "float32" for w in layer.weights)
            case = g.layer_case(name, cls, {**config, "dtype": policy}, x, training)
            out = layer(x)
            cases.append({**case, "config": config, "policy": policy, "output_dtype": keras.backend.standardize_dtype(out.dtype)})
    keras.layers.Layer.stateless_call = plain
    return cases


def training_cases():
    """Six steps of the models of generate.py: train_on_batch with `compile` as it is, which wraps the optimizer under mixed_float16."""
    global policy_now
    cases = []
    for policy in POLICIES:
        policy_now = policy
        for name in g.MODELS if policy == "mixed_float16" else ("mlp", "lstm"):
            r = g.Rand(f"train_{name}_{policy}")
            weights = g.initial_weights(g.build_model(g.MODELS[name], *g.TRAIN[name]), r)
            batches = [g.train_data(name, r, 4) for _ in range(6)]
            model, losses, _ = g.run_training(name, batches, weights)
            assert model.dtype_policy.name == policy
            optimizer, loss = g.TRAIN[name]
            wrapped = type(model.optimizer).__name__
            cases.append({"name": f"train_{name}_{policy}", "policy": policy, "model": g.MODELS[name], "optimizer": optimizer, "loss": loss,
                          "wrapped": wrapped, "loss_scale": float(model.optimizer.dynamic_scale) if wrapped == "LossScaleOptimizer" else 1.0,
                          "optimizer_params": int(sum(np.prod(v.shape) for v in model.optimizer.variables)),
                          "predict_dtype": str(model.predict(batches[0][0], verbose=0).dtype),
                          "losses": [g.num(v) for v in losses], "initial_weights": [g.arr(w) for w in weights],
                          "final_weights": [g.arr(w) for w in model.get_weights()], "batches": [{"x": g.arr(x), "y": g.arr(y)} for x, y in batches]})
    policy_now = "float32"
    keras.config.set_dtype_policy(policy_now)
    return cases


def scale_cases():
    """Gradients are those of the loss; LossScaleOptimizer is given them times its scale, as the trainer gives them, in f32: some overflow."""
    cases = []
    for name, cls, config, scaling in [
        ("sgd_momentum", "SGD", {"learning_rate": 0.1, "momentum": 0.9}, {"initial_scale": 1024.0, "dynamic_growth_steps": 3}),
        ("adam", "Adam", {"learning_rate": 0.05}, {"dynamic_growth_steps": 2}),
        ("adam_weight_decay_clip", "Adam", {"learning_rate": 0.05, "weight_decay": 0.04, "global_clipnorm": 1.0}, {"initial_scale": 48.0, "dynamic_growth_steps": 4}),
        ("rmsprop_defaults", "RMSprop", {"learning_rate": 0.02}, {}),
        ("never_grows", "SGD", {}, {"initial_scale": 64.0, "dynamic_growth_steps": 0}),
    ]:
        r = g.Rand("scale_" + name)
        initial = [r.normal(3, 4), r.normal(5)]
        variables = [keras.Variable(v, name=n, dtype="float32") for v, n in zip(initial, ("a", "b"))]
        optimizer = keras.optimizers.LossScaleOptimizer(getattr(keras.optimizers, cls)(**config), **scaling)
        optimizer.build(variables)
        grads = [[r.normal(3, 4), r.normal(5)] for _ in range(14)]
        for step, part, at in ((0, 1, 2), (4, 0, 7), (5, 1, 0), (11, 0, 0)):
            grads[step][part].flat[at] = 3e38
        tv, ov = [v.value for v in variables], [v.value for v in optimizer.variables]
        names = [v.path.split("/")[-1] for v in optimizer.variables]
        steps = []
        for step in grads:
            scale = ov[names.index("dynamic_scale")]
            tv, ov = optimizer.stateless_apply(ov, [jnp.asarray(x) * scale for x in step], tv)
            state = dict(zip(names, ov))
            steps.append({"after": [g.arr(v) for v in tv], "dynamic_scale": float(state["dynamic_scale"]),
                          "step_counter": int(state["step_counter"]), "iteration": int(state["iteration"])})
        cases.append({"name": name, "optimizer": cls, "config": config, "scaling": scaling, "initial": [g.arr(v) for v in initial],
                      "grads": [[g.arr(v) for v in s] for s in grads], "steps": steps})
    return cases


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    g.write("mixed.json", layer_cases(), training=training_cases())
    g.write("loss_scale.json", scale_cases())
