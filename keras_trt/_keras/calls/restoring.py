"""Puts back what a trace leaves in layers: their attributes, and the losses that their calls add.

A `call` may keep a tensor (`self.last = y`) or add a loss. What a trace on the side leaves there are tensors
of a graph that nobody runs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer
from keras_trt._machine.process import alone


@contextmanager
def restoring(flavor: Flavor, layer: Layer) -> Iterator[None]:
    """While open, calls may change attributes of a layer and of those below; at the end these are as before.

    Lists are the same with the same items. Variables keep the values that were assigned.
    """
    with alone():  # before it looks: what another thread has put in a layer for a while is not the layer's
        layers = [layer, *(below for _, below in flavor.walk(layer))]
        places = [place for one in layers for place in (one, *_locals(one))]
        held = [(vars(place), dict(vars(place))) for place in places]
        lists = [(v, list(v)) for _, before in held for v in before.values() if isinstance(v, list)]
        try:
            yield
        finally:
            for now, before in held:
                for name in now.keys() - before.keys():
                    del now[name]
                now.update(before)
            for values, items in lists:
                if list(map(id, values)) != list(map(id, items)):
                    values[:] = items


def _locals(layer: Layer) -> list[threading.local]:
    """Where tf_keras keeps what calls of this thread have added."""
    return [value for value in vars(layer).values() if isinstance(value, threading.local)]
