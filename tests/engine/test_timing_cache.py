"""The timing cache file, against a stand-in: only TensorRT on a GPU measures kernels."""

from types import SimpleNamespace

from keras_trt.engine import _trt


class Config:
    def __init__(self, accepts=True):
        self.accepts, self.started_from = accepts, []

    def create_timing_cache(self, data):
        return SimpleNamespace(data=data, serialize=lambda: b"measured")

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        self.started_from.append(cache.data)
        self.cache = cache
        return self.accepts or cache.data == b""

    def get_timing_cache(self):
        return self.cache


def test_times_are_kept_between_builds(tmp_path):
    path = tmp_path / "times"
    config = Config()
    _trt.load_timing_cache(config, path)
    _trt.save_timing_cache(config, path)
    assert config.started_from == [b""]
    assert path.read_bytes() == b"measured"
    _trt.load_timing_cache(again := Config(), path)
    assert again.started_from == [b"measured"]
    assert [p.name for p in tmp_path.iterdir()] == ["times"]


def test_a_cache_of_another_gpu_is_put_aside(tmp_path):
    (tmp_path / "times").write_bytes(b"other")
    _trt.load_timing_cache(config := Config(accepts=False), tmp_path / "times")
    assert config.started_from == [b"other", b""]


def test_no_path_means_no_cache():
    _trt.load_timing_cache(config := Config(), None)
    _trt.save_timing_cache(config, None)
    assert config.started_from == []
