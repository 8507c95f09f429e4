"""Which operators a LiteRT file uses, and how they hang together."""

from collections import Counter
from typing import Any

__all__ = ["makers", "operators"]


def operators(content: bytes) -> dict[str, int]:
    """Return operator -> how often it stands in the file, the most frequent first, as the schema of LiteRT calls them."""
    model, names = _read(content)
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    found = [names[graph.Operators(i).OpcodeIndex()] for graph in graphs for i in range(graph.OperatorsLength())]
    return dict(Counter(found).most_common())


def makers(content: bytes) -> tuple[list[int], dict[int, tuple[str, list[int]]]]:
    """Return the outputs of the main graph, and tensor -> the operator that makes it, and the tensors that go in."""
    model, names = _read(content)
    graph = model.Subgraphs(0)
    calls = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    made = {
        call.Outputs(j): (names[call.OpcodeIndex()], [call.Inputs(i) for i in range(call.InputsLength())])
        for call in calls
        for j in range(call.OutputsLength())
    }
    return [graph.Outputs(i) for i in range(graph.OutputsLength())], made


def _read(content: bytes) -> tuple[Any, list[str]]:
    """Return the model, and the name of each of its codes."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    # The older of the two fields holds numbers up to 127 only. A newer converter may write what this schema has no name for.
    numbers = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    return model, [names.get(number, str(number)) for number in numbers]
