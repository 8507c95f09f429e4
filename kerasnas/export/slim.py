"""A graph without what onnxslim can fold or merge."""

from typing import TYPE_CHECKING

from kerasnas.errors import KerasNASError, MissingExtra

if TYPE_CHECKING:
    import onnx

__all__ = ["require_onnxslim", "slimmed"]


def require_onnxslim() -> None:
    """Raise MissingExtra unless onnxslim is installed."""
    try:
        import onnxslim  # noqa: F401
    except ImportError as error:
        raise MissingExtra("onnxslim", "slim") from error


def slimmed(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph with constants folded and nodes merged by onnxslim, checked by ONNX.

    Args:
        proto: a graph that has passed ONNX's full check.

    Raises:
        MissingExtra: if onnxslim is not installed.
        KerasNASError: if onnxslim stops, or what it gives fails the check.
    """
    require_onnxslim()
    import onnx
    import onnxslim

    try:
        smaller = onnxslim.slim(proto)
        onnx.checker.check_model(smaller, full_check=True)
    except Exception as error:
        raise KerasNASError(
            f"Expected a graph that onnxslim can slim, but it gave {error}. Export it with slim=False."
        ) from error
    return smaller
