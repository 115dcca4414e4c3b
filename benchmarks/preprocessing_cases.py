"""The models of the layer sweep for layers that prepare data or act in training only; see layer_cases.py."""

from __future__ import annotations

from benchmarks.layer_nets import Case, Tensor, case, of

VECTOR, PHOTO = Tensor((8,)), Tensor((12, 12, 3), high=255)
IDS, WORDS = Tensor((6,), "int32", high=10), Tensor((1,), "string")
WAVE, CHANNEL = Tensor((1024,)), Tensor((1024, 1))

NO_STRINGS = "TensorRT has no strings"

REGULARIZATION: dict[str, Case] = {
    **{name: case(of(name, 0.5), VECTOR)
       for name in ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise")},
    "SpatialDropout1D": case(lambda L: L.SpatialDropout1D(0.5), Tensor((12, 4))),
    "SpatialDropout2D": case(lambda L: L.SpatialDropout2D(0.5), Tensor((8, 8, 4))),
    "SpatialDropout3D": case(lambda L: L.SpatialDropout3D(0.5), Tensor((6, 6, 6, 2))),
}  # fmt: skip

_VOCABULARY = ["red", "green"]
TABLES: dict[str, Case] = {
    "CategoryEncoding": case(lambda L: L.CategoryEncoding(10, output_mode="multi_hot"), IDS),
    "CategoryEncoding: one_hot": case(
        lambda L: L.CategoryEncoding(10, output_mode="one_hot"), Tensor((1,), "int32", 10)
    ),
    "CategoryEncoding: count": case(lambda L: L.CategoryEncoding(10, output_mode="count"), IDS),
    "CategoryEncoding: sparse": case(
        lambda L: L.CategoryEncoding(10, sparse=True, dtype="int32"), IDS,
        impossible="TensorRT has no sparse tensors",
    ),
    "Discretization": case(lambda L: L.Discretization([0.0, 0.5, 1.0]), VECTOR),
    "Discretization: multi_hot": case(
        lambda L: L.Discretization([0.0, 0.5, 1.0], output_mode="multi_hot"), VECTOR
    ),
    "Discretization: of integers": case(lambda L: L.Discretization([2.0, 5.0]), IDS),
    "HashedCrossing": case(
        lambda L: L.HashedCrossing(10), Tensor((1,), "int32", 10), Tensor((1,), "int32", 10),
        impossible="it hashes in unsigned 64-bit arithmetic, which TensorRT lacks",
    ),
    "Hashing": case(lambda L: L.Hashing(10), IDS, impossible=f"it hashes strings, numbers too; {NO_STRINGS}"),
    "IntegerLookup": case(lambda L: L.IntegerLookup(vocabulary=[2, 5, 7]), Tensor((6,), "int64", 10)),
    "IntegerLookup: multi_hot": case(
        lambda L: L.IntegerLookup(vocabulary=[2, 5, 7], output_mode="multi_hot"), Tensor((6,), "int64", 10)
    ),
    "IntegerLookup: inverse": case(
        lambda L: L.IntegerLookup(vocabulary=[2, 5, 7], invert=True), Tensor((6,), "int64", 4)
    ),
    "Normalization": case(lambda L: L.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3]), PHOTO),
    "Normalization: inverse": case(
        lambda L: L.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3], invert=True), PHOTO
    ),
    "Rescaling": case(lambda L: L.Rescaling(1 / 255, -0.5), PHOTO),
    "Rescaling: of bytes": case(lambda L: L.Rescaling(1 / 255), Tensor((8, 8, 3), "uint8", 256)),
    "StringLookup": case(lambda L: L.StringLookup(vocabulary=_VOCABULARY), WORDS, impossible=NO_STRINGS),
    "TextVectorization": case(
        lambda L: L.TextVectorization(vocabulary=_VOCABULARY), WORDS, impossible=NO_STRINGS
    ),
}  # fmt: skip

SOUND: dict[str, Case] = {
    "MelSpectrogram": case(
        lambda L: L.MelSpectrogram(fft_length=64, sequence_stride=32, num_mel_bins=8), WAVE
    ),
    "STFTSpectrogram": case(lambda L: L.STFTSpectrogram(frame_length=64, frame_step=32), CHANNEL),
    "STFTSpectrogram: magnitude": case(
        lambda L: L.STFTSpectrogram("magnitude", frame_length=64, frame_step=32), CHANNEL
    ),
    "STFTSpectrogram: phase": case(
        lambda L: L.STFTSpectrogram("angle", frame_length=64, frame_step=32), CHANNEL
    ),
}

_FACTOR = ("RandomBrightness", "RandomColorDegeneration", "RandomContrast", "RandomGrayscale", "RandomHue",
           "RandomRotation", "RandomSharpness")  # fmt: skip
_PLAIN = ("AugMix", "CutMix", "MixUp", "RandAugment", "RandomColorJitter", "RandomElasticTransform",
          "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomInvert", "RandomPerspective",
          "RandomShear")  # fmt: skip
IMAGES: dict[str, Case] = {
    **{name: case(of(name, 0.2), PHOTO) for name in _FACTOR},
    **{name: case(of(name), PHOTO) for name in _PLAIN},
    "AutoContrast": case(lambda L: L.AutoContrast(), PHOTO),
    "CenterCrop": case(lambda L: L.CenterCrop(8, 8), PHOTO),
    "CenterCrop: larger than the image": case(lambda L: L.CenterCrop(16, 16), PHOTO),
    "ContrastLimitedAdaptiveHistogramEqualization": case(
        lambda L: L.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2)), PHOTO
    ),
    "Equalization": case(lambda L: L.Pipeline([L.Equalization()]), PHOTO),
    "MaxNumBoundingBoxes": case(lambda L: L.MaxNumBoundingBoxes(3), PHOTO),
    "Pipeline": case(lambda L: L.Pipeline([L.RandomFlip(), L.Rescaling(1 / 255)]), PHOTO),
    "RandomCrop": case(lambda L: L.RandomCrop(8, 8), PHOTO),
    "RandomHeight": case(lambda L: L.RandomHeight(0.2), PHOTO),
    "RandomPosterization": case(lambda L: L.RandomPosterization(4), PHOTO),
    "RandomSaturation": case(lambda L: L.RandomSaturation(0.2), PHOTO),
    "RandomTranslation": case(lambda L: L.RandomTranslation(0.2, 0.2), PHOTO),
    "RandomWidth": case(lambda L: L.RandomWidth(0.2), PHOTO),
    "RandomZoom": case(lambda L: L.RandomZoom(0.2), PHOTO),
    "Resizing": case(lambda L: L.Resizing(8, 6), PHOTO),
    **{
        f"Resizing: {mode}": case(of("Resizing", 8, 6, interpolation=mode), PHOTO)
        for mode in ("nearest", "bicubic", "lanczos3", "lanczos5", "area")
    },
    **{
        f"Resizing: {mode}": case(of("Resizing", 8, 6, interpolation=mode), PHOTO, kerases=("tf_keras",))
        for mode in ("gaussian", "mitchellcubic")
    },
    "Resizing: cropped": case(lambda L: L.Resizing(8, 6, crop_to_aspect_ratio=True), PHOTO),
    "Resizing: padded": case(lambda L: L.Resizing(8, 6, pad_to_aspect_ratio=True), PHOTO, kerases=("keras",)),
    "Resizing: antialiased": case(lambda L: L.Resizing(8, 6, antialias=True), PHOTO, kerases=("keras",)),
    "Solarization": case(lambda L: L.Solarization(0.1, 0.5), PHOTO),
}
