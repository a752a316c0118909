"""What exporters write: small models of Hugging Face's transformers, exported in every way, imported and compared.

`python -m benchmarks.onnx_zoo`; __main__.py says what it needs.
"""
