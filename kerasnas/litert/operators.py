"""Which operators a LiteRT file uses."""

from collections import Counter

__all__ = ["operators"]


def operators(content: bytes) -> dict[str, int]:
    """Return operator -> how often it stands in the file, the most frequent first, as the schema of LiteRT calls them."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(content, 0)
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    codes = [model.OperatorCodes(graph.Operators(i).OpcodeIndex()) for graph in graphs for i in range(graph.OperatorsLength())]
    # The older of the two fields holds numbers up to 127 only.
    return dict(Counter(names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes).most_common())
