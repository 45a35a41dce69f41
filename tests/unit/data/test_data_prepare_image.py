"""Images: training's tensors and the served graph agree, and are what the definition says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from prepared_rows import by_graph

from modelyard.data.prepare_image import Image
from modelyard.data.preprocessing import Preprocessing


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
    return sizes.flatmap(lambda size: st.sampled_from([size, (*size, 3)]))


def images() -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.uint8, shapes())


def fitted(*batches: np.ndarray, name: str = "picture") -> Image:
    _, height, width, *colour = batches[0].shape
    size = {"height": height, "width": width, "channels": 3 if colour else 1}
    return Image.fit({"name": name, "type": "image", **size}, batches)


@settings(max_examples=40, deadline=None)
@given(train=images(), data=st.data())
def test_transform_and_the_graph_agree(train: np.ndarray, data: st.DataObject) -> None:
    preprocessing = Preprocessing((fitted(train, name="photo"),))
    rows = data.draw(st.integers(1, 4))
    columns = {"photo": data.draw(hnp.arrays(np.uint8, (rows, *train.shape[1:])))}
    tensor = preprocessing.transform(columns)
    assert tensor.dtype == np.float32
    assert tensor.shape == (rows, *preprocessing.input_shape)
    np.testing.assert_allclose(by_graph(preprocessing, columns), tensor, atol=1e-6, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(images())
def test_train_itself_becomes_centred_with_unit_deviation(image: np.ndarray) -> None:
    tensor = fitted(image).transform(image).astype(np.float64)
    for channel in range(tensor.shape[1]):
        plane = tensor[:, channel]
        assert abs(plane.mean()) < 1e-3
        expected = 1 if len(np.unique(plane)) > 1 else 0
        assert abs(plane.std() - expected) < 1e-3


def test_is_pixel_over_255_less_the_mean_over_the_deviation() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    tensor = fitted(image).transform(image)
    unit = image / 255
    expected = (unit - unit.mean(axis=(0, 1, 2))) / unit.std(axis=(0, 1, 2))
    np.testing.assert_allclose(tensor, expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_batches_are_all_counted() -> None:
    black, white = np.zeros((40, 1, 2), np.uint8), np.full((4, 1, 2), 255, np.uint8)
    image = fitted(black, white)
    assert -image.bias[0] / image.scale[0] == pytest.approx(255 * 4 / 44)
    assert image == fitted(np.concatenate([black, white]))


def test_rows_of_several_batches_are_taken_as_transform_gives_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 3), dtype=np.uint8)
    preprocessing = Preprocessing((fitted(pixels),))
    batches = [{"picture": pixels[part]} for part in (slice(0, 3), slice(3, 6), slice(6, 7))]
    rows = np.array([6, 0, 3, 3])
    np.testing.assert_array_equal(
        preprocessing.prepare(batches, 7).take(rows),
        preprocessing.transform({"picture": pixels})[rows],
    )
