"""What a network costs, known before it is trained: parameters, multiply-accumulates, memory of activations."""

from kerasnas.cost.cost import Cost, cost_of

__all__ = ["Cost", "cost_of"]
