"""The runtimes that tgraph is compared with."""

PEERS: dict[str, str] = {  # runtime -> what pip installs
    "onnxruntime": "onnxruntime", "torch": "torch", "openvino": "openvino", "torch.compile": "torch",
    "torch.max-autotune": "torch", "ctranslate2": "ctranslate2",
}
