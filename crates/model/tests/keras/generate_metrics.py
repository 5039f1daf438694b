"""Makes metrics_more.json with real Keras 3 on JAX (CPU): the metrics that metrics.json lacks, over several batches, with and without weights.

    python generate_metrics.py           # writes the file beside this one

Numbers and helpers as in generate.py. `results` are lists: a metric may give several numbers. `written` is Keras's own configuration.
"""
import generate as g
import keras
import numpy as np


def cases():
    out = []
    r = g.Rand("metrics_more")
    fl = lambda a: np.asarray(a, g.FLOAT)
    weights = lambda n: r.uniform(n, low=0.1, high=3.0)

    def add(name, cls, config, make):
        keras.utils.clear_session()
        for weighted in (False, True):
            # Keras's IoU truncates weights to whole numbers unless it is told to compute in floats.
            extra = {"dtype": "float32"} if weighted and "IoU" in cls else {}
            metric = getattr(keras.metrics, cls)(**config, **extra)
            batches, results = [], []
            for n in (5, 8, 3):
                t, p = make(n)
                w = weights(n) if weighted else None
                metric.update_state(t, p, sample_weight=w)
                batches.append({"y_true": g.arr(t), "y_pred": g.arr(p), "sample_weight": None if w is None else g.arr(w)})
                results.append([g.num(v) for v in np.atleast_1d(np.asarray(metric.result()))])
            direction = getattr(metric, "_direction", None)
            out.append({"name": name + ("_weights" if weighted else ""), "metric": cls, "config": config,
                        "default_name": keras.src.utils.naming.to_snake_case(cls) if metric.name.startswith(keras.src.utils.naming.to_snake_case(cls)) else metric.name,
                        "direction": None if direction is None else direction == "up", "batches": batches, "results": results})

    binary = lambda n: (fl(r.ints(2, n, 1)), r.uniform(n, 1))
    several = lambda n: (fl(r.ints(2, n, 4)), r.uniform(n, 4))
    grid = lambda n: (fl(r.ints(2, n, 4)), fl(r.ints(5, n, 4)) * 0.25)  # at thresholds, with 0 and 1
    numbers = lambda n: (r.normal(n, 3), r.normal(n, 3))
    for cls in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall"):
        add(cls, cls, {}, several)
        add(cls + "_thresholds", cls, {"thresholds": [0.2, 0.5, 0.9]}, several)
        add(cls + "_one_threshold", cls, {"thresholds": 0.25}, grid)
    for cls in ("Precision", "Recall"):
        add(cls + "_even", cls, {"thresholds": [0.0, 0.5, 1.0]}, grid)
        add(cls + "_top_k", cls, {"top_k": 2}, several)
        add(cls + "_top_k_ties", cls, {"top_k": 2}, grid)
        add(cls + "_top_k_threshold", cls, {"top_k": 2, "thresholds": 0.6}, several)
        add(cls + "_class_id", cls, {"class_id": 2}, several)
        add(cls + "_top_k_class_id", cls, {"top_k": 2, "class_id": 1}, several)
    for cls, key in (("PrecisionAtRecall", "recall"), ("RecallAtPrecision", "precision"),
                     ("SensitivityAtSpecificity", "specificity"), ("SpecificityAtSensitivity", "sensitivity")):
        add(cls, cls, {key: 0.6}, several)
        add(cls + "_few", cls, {key: 0.4, "num_thresholds": 7, "class_id": 1}, grid)
    for curve in ("ROC", "PR"):
        for method in ("interpolation", "minoring", "majoring"):
            add(f"AUC_{curve}_{method}", "AUC", {"curve": curve, "summation_method": method}, binary)
            add(f"AUC_{curve}_{method}_labels", "AUC", {"curve": curve, "summation_method": method, "multi_label": True, "num_thresholds": 11}, grid)
    add("AUC_thresholds", "AUC", {"thresholds": [0.9, 0.2, 0.4]}, several)
    add("AUC_label_weights", "AUC", {"label_weights": [1.0, 2.0, 0.5, 0.0]}, several)
    add("AUC_multi_label_weights", "AUC", {"multi_label": True, "label_weights": [1.0, 2.0, 0.5, 0.0]}, several)
    add("AUC_logits", "AUC", {"from_logits": True}, lambda n: (fl(r.ints(2, n, 1)), r.normal(n, 1)))
    hot = lambda n: (r.one_hot(3, n), r.probs(n, 3))
    for cls, extra in (("F1Score", {}), ("FBetaScore", {"beta": 2.0})):
        for average in (None, "micro", "macro", "weighted"):
            add(f"{cls}_{average}", cls, {"average": average, **extra}, hot)
        add(cls + "_threshold", cls, {"threshold": 0.4, **extra}, several)
        add(cls + "_ties", cls, extra, grid)
    add("TopK", "TopKCategoricalAccuracy", {"k": 2}, lambda n: (r.one_hot(4, n), r.probs(n, 4)))
    add("TopK_ties", "TopKCategoricalAccuracy", {"k": 2}, lambda n: (r.one_hot(4, n), grid(n)[1]))
    add("SparseTopK", "SparseTopKCategoricalAccuracy", {"k": 2}, lambda n: (r.ints(4, n), r.normal(n, 4)))
    add("SparseTopK_3d", "SparseTopKCategoricalAccuracy", {"k": 3}, lambda n: (r.ints(6, n, 2), r.normal(n, 2, 6)))
    add("SparseTopK_ids", "SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True},
        lambda n: (fl(r.ints(4, n)), fl([r.g.permutation(4) for _ in range(n)])))
    for cls in ("MeanSquaredError", "MeanAbsoluteError", "RootMeanSquaredError", "MeanAbsolutePercentageError", "LogCoshError",
                "CosineSimilarity", "PearsonCorrelation", "ConcordanceCorrelation", "R2Score"):
        add(cls, cls, {}, numbers)
    add("MeanSquaredLogarithmicError", "MeanSquaredLogarithmicError", {}, several)
    add("R2Score_each", "R2Score", {"class_aggregation": None}, numbers)
    add("R2Score_variance", "R2Score", {"class_aggregation": "variance_weighted_average"}, numbers)
    add("R2Score_adjusted", "R2Score", {"num_regressors": 2}, numbers)
    for cls in ("Hinge", "SquaredHinge"):
        add(cls, cls, {}, lambda n: (fl(r.ints(2, n, 3)), r.normal(n, 3)))
        add(cls + "_signs", cls, {}, lambda n: (fl(r.ints(2, n, 3)) * 2 - 1, r.normal(n, 3)))
    add("CategoricalHinge", "CategoricalHinge", {}, lambda n: (r.one_hot(3, n), r.normal(n, 3)))
    add("KLDivergence", "KLDivergence", {}, lambda n: (r.probs(n, 3), r.probs(n, 3)))
    add("Poisson", "Poisson", {}, lambda n: (fl(r.ints(4, n, 3)), r.uniform(n, 3, low=0.1, high=3.0)))
    add("BinaryCrossentropy", "BinaryCrossentropy", {"label_smoothing": 0.1}, several)
    add("BinaryCrossentropy_logits", "BinaryCrossentropy", {"from_logits": True}, lambda n: (fl(r.ints(2, n, 2)), r.normal(n, 2)))
    add("CategoricalCrossentropy", "CategoricalCrossentropy", {"label_smoothing": 0.1}, hot)
    add("CategoricalCrossentropy_logits", "CategoricalCrossentropy", {"from_logits": True}, lambda n: (r.one_hot(3, n), r.normal(n, 3)))
    add("SparseCategoricalCrossentropy", "SparseCategoricalCrossentropy", {"from_logits": True}, lambda n: (r.ints(3, n), r.normal(n, 3)))
    classes = lambda n: (r.ints(4, n), r.ints(4, n))
    scores = lambda n: (r.one_hot(4, n), r.probs(n, 4))
    add("IoU", "IoU", {"num_classes": 4, "target_class_ids": [0, 2]}, classes)
    add("IoU_ignore", "IoU", {"num_classes": 4, "target_class_ids": [0, 2], "ignore_class": 1, "sparse_y_pred": False},
        lambda n: (r.ints(4, n), r.probs(n, 4)))
    add("MeanIoU", "MeanIoU", {"num_classes": 5}, classes)
    add("MeanIoU_out_of_range", "MeanIoU", {"num_classes": 3}, classes)
    add("OneHotIoU", "OneHotIoU", {"num_classes": 4, "target_class_ids": [1, 3]}, scores)
    add("OneHotMeanIoU", "OneHotMeanIoU", {"num_classes": 4}, scores)
    add("BinaryIoU", "BinaryIoU", {"target_class_ids": [0, 1], "threshold": 0.4}, lambda n: (r.ints(2, n), r.uniform(n)))
    return out


if __name__ == "__main__":
    g.write("metrics_more.json", cases())
