"""Graphs to ONNX."""
