"""A small language model of either Keras that caches keys and values, and the loop that generates."""

from __future__ import annotations

import numpy as np

VOCABULARY, LENGTH, HEADS, SIZE, LAYERS = 32, 10, 2, 4, 2


def empty_cache():
    """Of one row."""
    return np.zeros((1, LAYERS, 2, LENGTH, HEADS, SIZE), "float32")


def decoder(k):
    """A subclassed causal language model with `call_with_cache`, as keras-hub's have it."""
    import tensorflow as tf

    width = HEADS * SIZE

    class Block(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.norm = k.layers.LayerNormalization(name="norm")
            self.query, self.key, self.value, self.out = (
                k.layers.Dense(width, name=name) for name in ("query", "key", "value", "out")
            )
            self.wide = k.layers.Dense(2 * width, activation="relu", name="wide")
            self.narrow = k.layers.Dense(width, name="narrow")

        def call(self, x, cache, index):
            y = self.norm(x)
            query, key, value = (
                tf.reshape(layer(y), (-1, x.shape[1], HEADS, SIZE))
                for layer in (self.query, self.key, self.value)
            )
            places = index + tf.range(x.shape[1])
            here = tf.cast(places[:, None] == tf.range(LENGTH)[None], x.dtype)  # (steps, length)
            kept = (1 - tf.reduce_sum(here, 0))[None, None, :, None, None]
            new = tf.stack([tf.einsum("bthd,tl->blhd", part, here) for part in (key, value)], 1)
            cache = cache * kept + new
            scores = tf.einsum("bthd,blhd->bhtl", query, cache[:, 0]) / SIZE**0.5
            seen = tf.range(LENGTH)[None] <= places[:, None]
            weights = tf.nn.softmax(tf.where(seen, scores, -1e9))
            y = tf.reshape(tf.einsum("bhtl,blhd->bthd", weights, cache[:, 1]), (-1, x.shape[1], width))
            x = x + self.out(y)
            return x + self.narrow(self.wide(x)), cache

    class Decoder(k.Model):
        def __init__(self):
            super().__init__(name="decoder")
            self.tokens = k.layers.Embedding(VOCABULARY, width, name="tokens")
            self.places = k.layers.Embedding(LENGTH, width, name="places")
            self.blocks = [Block(name=f"block_{i}") for i in range(LAYERS)]
            self.head = k.layers.Dense(
                VOCABULARY, kernel_initializer=k.initializers.RandomNormal(0, 2), name="head"
            )

        def call_with_cache(self, token_ids, cache, cache_update_index):
            x = self.tokens(token_ids)
            x = x + self.places(cache_update_index + tf.range(token_ids.shape[1]))
            caches = []
            for i, block in enumerate(self.blocks):
                x, new = block(x, cache=cache[:, i], index=cache_update_index)
                caches.append(new)
            return self.head(x), tf.stack(caches, 1)

        def call(self, token_ids):
            rows = tf.shape(token_ids)[0]
            return self.call_with_cache(token_ids, tf.zeros([rows, *empty_cache().shape[1:]]), 0)[0]

    k.utils.set_random_seed(0)  # here, too: a plugin that shuffles tests seeds anew after their fixtures
    model = Decoder()
    model(np.zeros((1, LENGTH), "int32"))
    return model
