from keras_trt import _memory
from keras_trt._memory import free_graph


def test_only_a_large_graph_is_worth_a_collection(monkeypatch):
    collected = []
    monkeypatch.setattr(_memory.gc, "collect", lambda: collected.append(True))
    free_graph(4_999)
    assert not collected
    free_graph(5_000)
    assert collected
