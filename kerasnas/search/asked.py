"""Which hyperparameters a HyperModel asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["asked"]


@contextmanager
def asked(hp: Any, names: list[str]) -> Iterator[None]:
    """Add to `names` each hyperparameter that is asked for in the block, by `hp.Int` and its like, `hp.get` or `hp[...]`.

    KerasTuner gives a network of one layer values for the other layers, too, unless they stand in a `conditional_scope`: only
    who builds the network knows which values it is made of.
    """
    retrieve, get = hp._retrieve, hp.get

    def note(name: str) -> None:
        if name not in names:
            names.append(name)

    def noted_retrieve(hyperparameter: Any) -> Any:
        note(hyperparameter.name)
        return retrieve(hyperparameter)

    def noted_get(name: str) -> Any:
        note(hp._get_name(name))
        return get(name)

    hp._retrieve, hp.get = noted_retrieve, noted_get
    try:
        yield
    finally:
        del hp._retrieve, hp.get
