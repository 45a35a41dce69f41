"""The fitted preprocessing: training's tensors and the served graph agree row by row."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard.data.preprocessing import Preprocessing

OPSET, IR_VERSION = 18, 10


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
    return sizes.flatmap(lambda size: st.sampled_from([size, (*size, 3)]))


def images() -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.uint8, shapes())


@settings(max_examples=60, deadline=None)
@given(fitted=images(), data=st.data())
def test_transform_and_the_graph_agree(fitted: np.ndarray, data: st.DataObject) -> None:
    import onnxruntime as ort

    preprocessing = Preprocessing.fit({"image": fitted})
    rows = data.draw(st.integers(1, 4))
    image = data.draw(hnp.arrays(np.uint8, (rows, *fitted.shape[1:])))
    model = preprocessing.onnx_model(OPSET, IR_VERSION)
    assert (model.opset_import[0].version, model.ir_version) == (OPSET, IR_VERSION)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (graph,) = session.run(["features"], {"image": image})
    tensor = preprocessing.transform({"image": image})
    assert tensor.dtype == np.float32
    assert tensor.shape == (rows, *preprocessing.input_shape)
    np.testing.assert_allclose(np.asarray(graph), tensor, atol=1e-6, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(images())
def test_train_itself_becomes_centred_with_unit_deviation(image: np.ndarray) -> None:
    tensor = Preprocessing.fit({"image": image}).transform({"image": image}).astype(np.float64)
    for channel in range(tensor.shape[1]):
        plane = tensor[:, channel]
        assert abs(plane.mean()) < 1e-3
        expected = 1 if len(np.unique(plane)) > 1 else 0
        assert abs(plane.std() - expected) < 1e-3


def test_is_pixel_over_255_less_the_mean_over_the_deviation() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    tensor = Preprocessing.fit({"image": image}).transform({"image": image})
    unit = image / 255
    expected = (unit - unit.mean(axis=(0, 1, 2))) / unit.std(axis=(0, 1, 2))
    np.testing.assert_allclose(tensor, expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_more_rows_than_one_block_are_all_counted() -> None:
    image = np.zeros((4100, 1, 2), np.uint8)
    image[4096:] = 255
    fitted = Preprocessing.fit({"image": image})
    assert -fitted.bias[0] / fitted.scale[0] == pytest.approx(255 * 4 / 4100)


def test_written_and_read_it_is_the_same(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    fitted = Preprocessing.fit({"image": image})
    fitted.write(tmp_path / "preprocessing.json")
    assert Preprocessing.read(tmp_path / "preprocessing.json") == fitted
