"""How each figure of a certificate was measured, in words."""

__all__ = ["measured"]


def measured(*, lossy: bool) -> dict[str, str]:
    """Return place of a figure in the certificate -> how it was measured.

    Args:
        lossy: whether the file was quantised.
    """
    allowed = "parity.min_agreement decides" if lossy else "at most parity.bounds passes"
    return {
        "file.sha256": "SHA-256 of the bytes of the file",
        "file.size_bytes": "bytes of the file",
        "file.gzip_bytes": "bytes after gzip at level 9 of the whole file",
        "model.weights_sha256": 'SHA-256 over model.weights in order: a line "DTYPE [SHAPE]", then the numbers in row-major '
        "order, little-endian",
        "model.parameters": "numbers in all weights of the Keras model",
        "parity.max_abs_difference": "largest absolute difference of each output from Keras at inference on the CPU, over "
        f"parity.n_samples samples (parity.data), run at each of parity.batch_sizes; {allowed}",
        "parity.top1_agreement": "share of the samples whose class is the same as in Keras, at the worst batch size: the "
        "largest column, or the side of 0.5 after a sigmoid, else of 0, on which a single column that names a class lies",
        "parity.relative_difference": "root mean square difference from Keras over the standard deviation of its output, "
        "at the worst batch size",
        "accuracy.file": "share of accuracy.samples samples whose largest column (one column: above 0.5 after a "
        "sigmoid, else above 0) is their class; run by machine.runtime",
        "accuracy.model": "likewise, run by Keras on the CPU",
        "latency.median_ms": "median of latency.repeats calls of latency.batch_size random samples (of latency.shapes, where "
        "the file leaves a size free) on latency.threads threads, each timed by itself after warming up; the quietest of "
        "several rounds; on the processor in machine",
        "latency.p90_ms": "90th percentile of the same calls",
        "self_test.outputs": "outputs of the file on this machine for the fixed samples, self_test.batch_size at a time: the "
        "values at the places of the flattened output (samples first), and the mean of all",
        "self_test.atol": "1e-4, times the largest output if that is above 1, or four times the difference between the "
        "runtime's optimised and plain arithmetic, or of a quantised file a 128th of the largest output, whichever is most",
        "versions": "of the packages of the process that certified the file",
    }
