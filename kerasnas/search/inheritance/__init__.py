"""A new trial begins with the weights of the most similar finished one."""

from kerasnas.search.inheritance.inherit import Inheritance, inherit
from kerasnas.search.inheritance.similar import most_similar

__all__ = ["Inheritance", "inherit", "most_similar"]
