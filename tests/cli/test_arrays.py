import numpy as np
import pytest

from keras_trt.cli.arrays import read_data
from keras_trt.errors import InputError


def test_one_array_of_either_file(tmp_path, rng):
    x = rng.normal(size=(4, 3))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x)
    np.savez(tmp_path / "named.npz", x=x)
    for name in ("x.npy", "x.npz", "named.npz"):
        np.testing.assert_array_equal(read_data(str(tmp_path / name)), x)


def test_targets_and_inputs_by_name(tmp_path):
    np.savez(tmp_path / "xy.npz", x=np.zeros((2, 3)), y=np.arange(2))
    x, y = read_data(str(tmp_path / "xy.npz"), targets=True)
    assert (x.shape, y.tolist()) == ((2, 3), [0, 1])
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.ones(2), y=np.arange(2))
    x, y = read_data(str(tmp_path / "two.npz"), targets=True)
    assert sorted(x) == ["a", "b"]
    np.savez(tmp_path / "one.npz", image=np.zeros(2))
    assert list(read_data(str(tmp_path / "one.npz"))) == ["image"]


def test_pickles_are_not_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read: .*allow_pickle"):
        read_data(str(tmp_path / "x.npy"))
    np.savez(tmp_path / "x.npz", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read_data(str(tmp_path / "x.npz"))


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 cut off"])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"The data `.*{name}` cannot be read"):
        read_data(str(tmp_path / name))


def test_what_holds_no_arrays_is_called_no_pickle(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no array")
    with pytest.raises(InputError, match="cannot be read: it holds no arrays of NumPy's"):
        read_data(str(tmp_path / "x.npz"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_data(str(tmp_path / "absent.npz"))
    with pytest.raises(InputError, match=r"read from \.npy and \.npz"):
        read_data(str(tmp_path / "x.csv"))
    np.save(tmp_path / "x.npy", np.zeros(2))
    with pytest.raises(InputError, match="holds no targets"):
        read_data(str(tmp_path / "x.npy"), targets=True)
    np.savez(tmp_path / "y.npz", y=np.zeros(2))
    with pytest.raises(InputError, match="no array of inputs"):
        read_data(str(tmp_path / "y.npz"))
