"""From a Keras model to a verified ONNX file: conversion, parity with Keras, and measured latency and size."""

from kerasnas.export.benchmark import Latency, benchmark
from kerasnas.export.onnx import to_onnx
from kerasnas.export.onnx_file import OnnxFile
from kerasnas.export.verification import Verification
from kerasnas.export.verify import verify

__all__ = ["OnnxFile", "to_onnx", "Verification", "verify", "Latency", "benchmark"]
