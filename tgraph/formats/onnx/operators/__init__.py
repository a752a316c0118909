"""What ONNX's ops mean in the language, one file a family."""

from . import (  # noqa: F401
    activation,
    attention,
    control,
    convolution,
    create,
    elementwise,
    indexing,
    loss,
    matmul,
    microsoft,
    microsoft_attention,
    microsoft_quantized,
    normalization,
    pooling,
    quantization,
    reduction,
    refused,
    scan,
    shape,
    trigonometric,
)
