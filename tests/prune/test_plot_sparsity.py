import pytest

import keras_trt
from keras_trt.errors import InputError
from tests.nets import compiled, images, residual_net


def test_the_sparsity_of_a_training_is_drawn(k, tmp_path):
    x, y = images(16)
    model = compiled(k, residual_net(k))
    log = keras_trt.callbacks.SparsityLog(per_layer=True)
    prune = keras_trt.callbacks.Prune(0.8)
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[prune, log])
    figure = keras_trt.prune.plot_sparsity(history, tmp_path / "sparsity.png")
    assert (tmp_path / "sparsity.png").read_bytes().startswith(b"\x89PNG")
    curves = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert curves["model"] == history.history["sparsity"]
    assert len(curves) == len([name for name in history.history if name.startswith("sparsity")])


@pytest.mark.parametrize("history", [{"loss": [1.0]}, {}, None])
def test_a_history_without_it_says_how_to_log_it(history):
    with pytest.raises(InputError, match=r"SparsityLog\(\)"):
        keras_trt.prune.plot_sparsity(history)
