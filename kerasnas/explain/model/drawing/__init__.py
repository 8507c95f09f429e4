"""Layered drawings of the graph of a model: a tree of boxes is folded, laid out, and drawn as SVG or PNG."""

from kerasnas.explain.model.drawing.picture import Picture

__all__ = ["Picture"]
