import os
from pathlib import Path

from keras_trt._machine import memory
from keras_trt._machine.memory import free_graph, give_back


def test_only_a_large_graph_is_worth_a_collection(monkeypatch):
    collected = []
    monkeypatch.setattr(memory.gc, "collect", lambda: collected.append(True))
    free_graph(4_999)
    assert not collected
    free_graph(5_000)
    assert collected


def test_freed_memory_goes_back_to_the_system_after_much_was_used():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    parts = [bytes(50_000) for _ in range(2_000)]  # 100 MB, in pieces that the C library keeps
    pin = [bytes(50_000)]  # above them, so that the heap cannot shrink by itself
    del parts
    before = resident()
    give_back(2**24 - 1)
    assert resident() > before - 50e6  # too little to ask
    give_back(2**24)
    assert resident() < before - 50e6
    assert pin
