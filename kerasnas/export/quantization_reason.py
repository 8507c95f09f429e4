"""Why this format and no other, in a few sentences."""

from collections.abc import Sequence

from kerasnas.export.quantization import QuantizationCandidate

__all__ = ["reason_for"]


def reason_for(
    chosen: QuantizationCandidate,
    candidates: Sequence[QuantizationCandidate],
    *,
    goal: str,
    max_loss: float,
    min_agreement: float,
    fit: Sequence[QuantizationCandidate],
    instructions: str,
    exact: bool | None,
    n_measured: int,
    by_class: bool,
) -> str:
    """Return why `chosen` was picked: its figures beside the float file's, what was fused, and what the processor has.

    Args:
        chosen: the picked candidate.
        candidates: all, the float file first.
        goal: what was asked for.
        max_loss: largest loss that was accepted.
        min_agreement: least agreement that was accepted.
        fit: the formats that were accepted.
        instructions: the processor's best for 8-bit arithmetic.
        exact: whether they sum without saturating; None if unknown.
        n_measured: samples on which the formats were compared.
        by_class: whether agreement is a share of samples with the same class, by all outputs.
    """
    plain, others = candidates[0], [c for c in candidates[1:] if c.failure is None]
    what = {"latency": "the fastest", "size": "the smallest", "accuracy": "the one that loses least"}[goal]
    bounds = f"lose at most {max_loss:g}" + (f" and agree for at least {100 * min_agreement:g}%" if min_agreement else "")
    lines = []
    if chosen is plain:
        lines.append(
            f"float32 is {what} of {len(fit) + 1} candidates that {bounds}; nothing was written."
            if fit
            else f"float32 stays: none of {len(others)} formats {bounds}; nothing was written."
        )
    else:
        alike = (
            f"the same class for {chosen.agreement:.1%} of"
            if by_class
            else f"outputs that differ by {chosen.relative_difference:.1%} of their standard deviation (root mean square) on"
        )
        lines.append(
            f"{chosen.name} is {what} of {len(fit)} of {len(others)} formats that {bounds}: "
            f"{chosen.latency_ms:.3f} ms against {plain.latency_ms:.3f} ms in float32 "
            f"({plain.latency_ms / chosen.latency_ms:.2g} times the speed), {chosen.size_bytes / 1000:.1f} kB against "
            f"{plain.size_bytes / 1000:.1f} kB, {alike} the {n_measured:,} samples that compared the formats."
        )
    shown = chosen if chosen.fused else min((c for c in others if c.fused), key=lambda c: c.latency_ms, default=None)
    if shown is not None:
        lines.append(f"In {shown.name}, {shown.fused} operators with weights are fused into 8-bit ones.")
    if chosen.left_in_float:
        lines.append(
            f"Left in float in the file, because they hurt: {', '.join(chosen.left_in_float)}; onnxruntime may run them in 8 "
            "bits all the same."
        )
    ends = {
        True: "which sums 8-bit products exactly",
        False: "where U8S8 sums saturate unless the weights keep to 7 bits (reduce_range)",
        None: "of which it is not known whether it sums 8-bit products exactly",
    }
    lines.append(f"This processor has {instructions}, {ends[exact]}.")
    return " ".join(lines)
