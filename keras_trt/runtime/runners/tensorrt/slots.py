"""The slots of an engine: one for each batch under way, and a few idle ones for the next call."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from keras_trt.runtime.runners.tensorrt._cuda import OutOfMemoryError
from keras_trt.runtime.runners.tensorrt.gpu_engine import GpuEngine
from keras_trt.runtime.runners.tensorrt.slot import Slot

MOST_IDLE = 4
"""Further slots, which many threads need, give their memory back."""


class Slots:
    """Starts batches in slots, made as they are needed, and takes the slots back.

    Attributes:
        all: The slots there are.
        idle: Those of them that wait for a batch.
    """

    def __init__(self, gpu: GpuEngine, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self._gpu, self._names = gpu, (inputs, outputs)
        self._changing = threading.Lock()
        self.all: list[Slot] = []
        self.idle: list[Slot] = []

    def start(self, feeds: Mapping[str, object], *, on_device: bool = False) -> Slot:
        """Queues a batch; see `Slot.start`. Where memory is short, idle slots are freed for it."""
        try:
            return self._start(feeds, on_device)
        except OutOfMemoryError:
            if not self._free_idle():
                raise
        return self._start(feeds, on_device)

    def finish(self, slot: Slot) -> dict[str, Any]:
        """Waits for the slot's batch; see `Slot.finish`."""
        try:
            return slot.finish()
        finally:
            self.give_back(slot)

    def drop(self, slot: Slot) -> None:
        """Takes a slot back whose results nobody wants."""
        slot.drain()
        self.give_back(slot)

    def take(self) -> Slot:
        """An idle slot, or a new one."""
        with self._changing:
            if self.idle:
                return self.idle.pop()
        slot = Slot(self._gpu, *self._names)
        with self._changing:
            self.all.append(slot)
        return slot

    def give_back(self, slot: Slot) -> None:
        """The slot is idle again."""
        with self._changing:
            if len(self.idle) < MOST_IDLE:
                self.idle.append(slot)
                return
            self.all.remove(slot)
        slot.close()

    def close(self) -> None:
        """Frees all of them; nothing may be under way."""
        for slot in self.all:
            slot.close()
        self.all, self.idle = [], []

    def _start(self, feeds: Mapping[str, Any], on_device: bool) -> Slot:
        slot = self.take()
        try:
            slot.start(feeds, on_device=on_device)
        except BaseException:
            self.give_back(slot)
            raise
        return slot

    def _free_idle(self) -> bool:
        with self._changing:
            idle, self.idle = self.idle, []
            self.all = [slot for slot in self.all if slot not in idle]
        for slot in idle:
            slot.close()
        return bool(idle)
