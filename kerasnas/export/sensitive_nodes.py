"""Which layers lose most when they are quantised?"""

from collections.abc import Callable, Sequence

from kerasnas.export.quantization import QuantizationCandidate

__all__ = ["sensitive_nodes"]


def sensitive_nodes(
    losing: QuantizationCandidate,
    nodes: Sequence[str],
    attempt: Callable[[Sequence[str]], QuantizationCandidate],
    accepts: Callable[[QuantizationCandidate], bool],
) -> QuantizationCandidate | None:
    """Return the format with as few nodes left in float as make it acceptable.

    Each node is left in float alone. In the order of what that gains (the relative difference, which is finer than a
    share of samples), they are then left in float together, one more at a time.

    Args:
        losing: the format with all nodes quantised; it loses too much.
        nodes: names of the nodes with weights.
        attempt: makes and measures the format with some nodes left in float.
        accepts: whether a candidate loses little enough.

    Returns:
        The first candidate that is accepted, or None where half of the nodes are not enough.
    """
    alone = {node: attempt([node]) for node in nodes}
    gains = {node: losing.relative_difference - c.relative_difference for node, c in alone.items() if c.failure is None}
    order = sorted(gains, key=lambda node: -gains[node])
    for count in range(1, len(nodes) // 2 + 1):
        left = order[:count]
        candidate = alone[left[0]] if count == 1 else attempt(left)
        if accepts(candidate):
            return attempt(left)  # the last one made is the one whose file is kept
    return None
