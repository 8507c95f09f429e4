"""From a Keras model to a verified ONNX or LiteRT file: conversion, parity, quantisation, latency and size, certificates."""

from kerasnas.export.benchmark import Latency, benchmark
from kerasnas.export.certificate import Certificate
from kerasnas.export.certificate_check import CertificateCheck
from kerasnas.export.certify import certify
from kerasnas.export.litert import to_litert
from kerasnas.export.litert_file import LiteRTFile
from kerasnas.export.onnx import to_onnx
from kerasnas.export.onnx_file import OnnxFile
from kerasnas.export.quantization import Quantization, QuantizationCandidate
from kerasnas.export.quantize import quantize
from kerasnas.export.verification import Verification
from kerasnas.export.verify import verify

__all__ = [
    "OnnxFile",
    "to_onnx",
    "LiteRTFile",
    "to_litert",
    "Verification",
    "verify",
    "Latency",
    "benchmark",
    "quantize",
    "Quantization",
    "QuantizationCandidate",
    "certify",
    "Certificate",
    "CertificateCheck",
]
