"""Sound: the log-mel spectrogram, each band scaled by train's mean and deviation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from modelyard.data.onnx_nodes import Nodes
from modelyard.data.spectrogram import FLOOR, Spectrogram


@dataclass(frozen=True)
class Audio:
    """Each band becomes ``x * scale + bias``, which is ``(x - mean) / std``."""

    name: str
    spectrogram: Spectrogram
    scale: tuple[float, ...]
    bias: tuple[float, ...]

    @classmethod
    def fit(cls, feature: dict[str, Any], batches: Callable[[], Iterable[np.ndarray]]) -> Self:
        """Fit on log-mel spectrograms float32 [n,M,F] of train, which ``batches`` gives anew.

        A band of one single value is centred and not stretched.
        """
        count, total = 0, np.zeros(feature["mels"])
        for mel in batches():
            count += mel.shape[0] * mel.shape[2]
            total += mel.sum(axis=(0, 2), dtype=np.float64)
        mean = total / count
        squares = np.zeros_like(mean)
        for mel in batches():
            squares += np.square(mel - mean[:, np.newaxis]).sum(axis=(0, 2))
        std = np.sqrt(squares / count)
        # Rounding alone makes a silent band vary by less than this.
        std[std < 1e-4] = 1.0
        return cls(
            feature["name"],
            Spectrogram.of_feature(feature),
            tuple((1 / std).tolist()),
            tuple((-mean / std).tolist()),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, mels, frames)."""
        return 1, self.spectrogram.mels, self.spectrogram.frames

    def transform(self, sound: np.ndarray) -> np.ndarray:
        """Spectrograms float32 [N,1,M,F] of int16 [N,S], or of their float32 [N,M,F] of ingest."""
        mel = self.spectrogram.transform(sound) if sound.dtype == np.int16 else sound
        scaled = mel * np.array(self.scale, np.float32)[:, np.newaxis]
        scaled += np.array(self.bias, np.float32)[:, np.newaxis]
        return scaled[:, np.newaxis]

    def add_to(self, graph: Nodes) -> str:
        """The same as nodes; their input, named as the feature, is the waveform."""
        spectrogram = self.spectrogram
        sound = graph.input(self.name, np.int16, spectrogram.samples)
        waves = graph.as_column(graph.cast(sound, np.float32))
        basis = np.ascontiguousarray(spectrogram.basis().T[:, np.newaxis])
        parts = graph.add("Conv", waves, graph.constant(basis), strides=[spectrogram.hop])
        bins = spectrogram.num_bins
        shape = [0, 2, bins, spectrogram.frames]
        squares = graph.add("Reshape", graph.add("Mul", parts, parts), _integers(graph, shape))
        power = graph.add("ReduceSum", squares, _integers(graph, [1]), keepdims=0)
        bands = graph.constant(np.ascontiguousarray(spectrogram.mel_matrix().T))
        mel = graph.add("MatMul", bands, power)
        mel = graph.add("Log", graph.add("Add", mel, graph.constant(np.array(FLOOR, np.float32))))
        for operator, values in (("Mul", self.scale), ("Add", self.bias)):
            column = np.array(values, np.float32)[:, np.newaxis]
            mel = graph.add(operator, mel, graph.constant(column))
        return graph.as_column(mel)


def _integers(graph: Nodes, values: list[int]) -> str:
    return graph.constant(np.array(values, np.int64))
