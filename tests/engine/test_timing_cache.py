"""The timing cache file, against a stand-in: only TensorRT on a GPU measures kernels."""

from types import SimpleNamespace

from keras_trt.engine import timing_cache
from keras_trt.engine.machine.gpu import Gpu


class Config:
    def __init__(self, accepts=True):
        self.accepts, self.started_from = accepts, []

    def create_timing_cache(self, data):
        cache = SimpleNamespace(data=data, added=[])
        cache.serialize = lambda: b"".join([b"measured", *cache.added])
        cache.combine = lambda other, ignore_mismatch: cache.added.append(b"+" + other.data)
        return cache

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
    timing_cache.load_timing_cache(config, path)
    timing_cache.save_timing_cache(config, path)
    assert config.started_from == [b""]
    assert path.read_bytes() == b"measured"
    timing_cache.load_timing_cache(again := Config(), path)
    assert again.started_from == [b"measured"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [".times.lock", "times"]


def test_what_another_build_has_written_meanwhile_is_kept(tmp_path):
    path = tmp_path / "folder" / "times"
    timing_cache.load_timing_cache(one := Config(), path)
    timing_cache.load_timing_cache(other := Config(), path)
    timing_cache.save_timing_cache(one, path)
    timing_cache.save_timing_cache(other, path)
    assert path.read_bytes() == b"measured+measured"


def test_each_gpu_and_version_has_a_file_of_its_own(tmp_path):
    files = {
        timing_cache.timing_file(tmp_path, "tensorrt", version, Gpu(0, name, "SM89", 1)).name
        for version in ("10.16", "11.4")
        for name in ("NVIDIA L4", "NVIDIA L40/S")
    }
    assert len(files) == 4
    assert "tensorrt-11.4-SM89-NVIDIA-L40-S.timing" in files


def test_a_cache_of_another_gpu_is_put_aside(tmp_path):
    (tmp_path / "times").write_bytes(b"other")
    timing_cache.load_timing_cache(config := Config(accepts=False), tmp_path / "times")
    assert config.started_from == [b"other", b""]


def test_no_path_means_no_cache():
    timing_cache.load_timing_cache(config := Config(), None)
    timing_cache.save_timing_cache(config, None)
    assert config.started_from == []
