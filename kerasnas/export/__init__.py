"""From a Keras model to a verified ONNX file: conversion, parity with Keras, quantisation, and measured latency and size."""

from kerasnas.export.benchmark import Latency, benchmark
from kerasnas.export.onnx import to_onnx
from kerasnas.export.onnx_file import OnnxFile
from kerasnas.export.quantization import Quantization, QuantizationCandidate
from kerasnas.export.quantize import quantize
from kerasnas.export.verification import Verification
from kerasnas.export.verify import verify

__all__ = [
    "OnnxFile",
    "to_onnx",
    "Verification",
    "verify",
    "Latency",
    "benchmark",
    "quantize",
    "Quantization",
    "QuantizationCandidate",
]
