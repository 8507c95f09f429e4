import itertools
import re
import xml.etree.ElementTree as ElementTree

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from kerasnas.cost import cost_of
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.drawing.layout import arrange
from kerasnas.explain.model.drawing.shapes import Group, Text
from kerasnas.explain.model.drawing.tree import Frame, leaves, tree_of
from kerasnas.explain.model.structure import Operation, Structure, structure

layers = keras.layers


def small():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2), name="image"),
            layers.Conv2D(4, 3, name="conv"),
            layers.Flatten(name="flat"),
            layers.Dense(5, name="dense"),
        ],
        name="small",
    )


def residual():
    inputs = keras.Input((8,), name="x")
    hidden = layers.Dense(8, name="a")(inputs)
    hidden = layers.Dense(8, name="b")(hidden)
    return keras.Model(inputs, layers.Dense(2, name="out")(layers.Add(name="add")([inputs, hidden])))


def diamond():
    inputs = keras.Input((8,), name="x")
    left, right = layers.Dense(3, name="left")(inputs), layers.Dense(4, name="right")(inputs)
    return keras.Model(inputs, layers.Concatenate(name="both")([left, right]))


def nested():
    tower = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="in"), layers.Dense(3, name="out")], name="tower")
    one, two = keras.Input((8,), name="one"), keras.Input((8,), name="two")
    return keras.Model([one, two], layers.Concatenate(name="both")([tower(one), tower(two)]), name="pair")


def shared():
    layer, inputs = layers.Dense(8, name="same"), keras.Input((8,), name="x")
    return keras.Model(inputs, layers.Add(name="add")([layer(layer(inputs)), inputs]))


def test_shares_by_hand():
    found = structure(small())
    macs, parameters = [0, 4 * 4 * 9 * 2 * 4, 0, 64 * 5], [0, 9 * 2 * 4 + 4, 0, 64 * 5 + 5]
    assert [row.path for row in found.rows] == ["image", "conv", "flat", "dense"]
    assert [row.kind for row in found.rows] == ["InputLayer", "Conv2D", "Flatten", "Dense"]
    assert [row.output_shapes for row in found.rows] == [((6, 6, 2),), ((4, 4, 4),), ((64,),), ((5,),)]
    assert [row.macs for row in found.rows] == macs
    assert [row.parameters for row in found.rows] == parameters
    np.testing.assert_allclose([row.mac_share for row in found.rows], np.array(macs) / sum(macs))
    np.testing.assert_allclose([row.parameter_share for row in found.rows], np.array(parameters) / sum(parameters))
    assert found.edges == (("image", "conv"), ("conv", "flat"), ("flat", "dense"))


@pytest.mark.parametrize(
    ("make", "edges"),
    [
        (residual, {("x", "a"), ("a", "b"), ("x", "add"), ("b", "add"), ("add", "out")}),
        (diamond, {("x", "left"), ("x", "right"), ("left", "both"), ("right", "both")}),
        (
            nested,
            {
                ("one", "tower/in"),
                ("tower/in", "tower/out"),
                ("tower/out", "both"),
                ("two", "tower#2/in"),
                ("tower#2/in", "tower#2/out"),
                ("tower#2/out", "both"),
            },
        ),
        (shared, {("x", "same"), ("same", "same#2"), ("same#2", "add"), ("x", "add")}),
    ],
)
def test_edges(make, edges):
    found = structure(make())
    assert set(found.edges) == edges
    assert len(found.edges) == len(edges)
    assert drawn_edges(found) == edges


@pytest.mark.parametrize("make", [small, residual, diamond, nested, shared])
def test_sums_are_those_of_the_cost(make):
    model = make()
    found, cost = structure(model), cost_of(model)
    assert sum(row.macs for row in found.rows) == cost.macs
    assert sum(row.parameters for row in found.rows) == cost.parameters
    assert sum(row.mac_share for row in found.rows) == pytest.approx(1)
    assert sum(row.parameter_share for row in found.rows) == pytest.approx(1)


def test_weights_that_are_used_again_count_once():
    rows = {row.path: row for row in structure(nested()).rows}
    assert rows["tower/in"].parameters == 36
    assert rows["tower#2/in"].parameters == 0
    assert rows["tower#2/in"].macs == rows["tower/in"].macs == 32


def test_operations_without_layers_free_shapes_and_several_outputs():
    inputs = keras.Input((None, 4), name="x")
    first, second = keras.ops.split(layers.Dense(6, name="dense")(inputs), 2, axis=-1)
    found = structure(keras.Model(inputs, keras.ops.add(first, second)))
    assert [row.macs for row in found.rows[1:]] == [None, None, None]
    assert [row.mac_share for row in found.rows[1:]] == [None, None, None]
    assert found.rows[2].output_shapes == ((None, 3), (None, 3))
    assert len(found.edges) == 3
    assert "not counted" in found.to_svg()


def test_an_input_that_is_the_output_and_a_model_without_costs():
    inputs = keras.Input((3,), name="x")
    assert structure(keras.Model(inputs, layers.ReLU(name="relu")(inputs))).edges == (("x", "relu"),)
    assert "<svg" in structure(keras.Model(inputs, inputs)).to_svg()


def test_a_model_without_a_graph_is_refused():
    with pytest.raises(InvalidArgument, match="Expected a built model"):
        structure(keras.Sequential([layers.Dense(3)]))


def test_latency():
    found = structure(small(), latency={"conv": 3, "dense": np.float32(1.0)})
    assert [row.latency_ms for row in found.rows] == [None, 3.0, None, 1.0]
    assert [row.latency_share for row in found.rows] == [None, 0.75, None, 0.25]
    bars = [word for word in texts(found.to_svg()) if word == "time"]
    assert len(bars) == 2
    assert "latency: 4 ms (a full bar is 75.0 %)" in texts(found.to_svg())
    assert "time" not in texts(structure(small()).to_svg())


@pytest.mark.parametrize("latency", [{"nothing": 1.0}, {"conv": -1.0}, {"conv": float("nan")}, {"conv": "fast"}])
def test_wrong_latency(latency):
    with pytest.raises(InvalidArgument, match=r"Expected (latency by paths|milliseconds)"):
        structure(small(), latency=latency)


# The drawing


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def drawn_edges(found):
    """Follow the drawn lines from box to box, through the borders of frames."""
    layout = found._picture(10**6).layout
    bottoms = {(round(b.x + b.width / 2, 3), round(b.y + b.height, 3)): b for b in layout.boxes}

    def point(p):
        return round(p[0], 3), round(p[1], 3)

    def follow(line):
        end = point(line.points()[-1])
        if line.arrow:
            ends = [b for b in layout.boxes if b.x < end[0] < b.x + b.width and round(b.y, 3) == end[1]]
            assert len(ends) == 1
            yield ends[0].node.key
        else:
            onward = [other for other in layout.lines if point(other.start) == end]
            assert onward
            for other in onward:
                yield from follow(other)

    pairs = [
        (bottoms[point(line.start)].node.key, target)
        for line in layout.lines
        if point(line.start) in bottoms
        for target in follow(line)
    ]
    paths = [row.path for row in found.rows]
    return {(paths[a], paths[b]) for a, b in pairs}


def check_geometry(layout):
    def apart(a, b):
        return a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y

    def within(a, b):
        return b.x <= a.x and b.y <= a.y and a.x + a.width <= b.x + b.width and a.y + a.height <= b.y + b.height

    for a, b in itertools.combinations(layout.boxes, 2):
        assert apart(a, b)
    for frame in layout.frames:
        keys = {box.key for box in leaves(frame.node)}
        for box in layout.boxes:
            assert within(box, frame) if box.node.key in keys else apart(box, frame)
    for line in layout.lines:
        points = line.points(40)
        assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in points)
        assert all(a[1] <= b[1] + 1e-9 for a, b in itertools.pairwise(points))  # downwards all the way
        # The middle of each piece too, in which a straight piece could cross a box.
        points += [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in itertools.pairwise(points)]
        tops = [a[1] for a in points]
        for box in layout.boxes:
            inside = [
                (x, y)
                for (x, y) in points
                if box.x + 1e-6 < x < box.x + box.width - 1e-6 and box.y + 1e-6 < y < box.y + box.height - 1e-6
            ]
            assert not inside, (min(tops), box)
        for (ax, ay), (bx, by) in itertools.pairwise(line.points(40)):  # an upright piece meets all between its ends
            for box in layout.boxes:
                if ax == bx and box.x < ax < box.x + box.width:
                    assert by <= box.y + 1e-6 or ay >= box.y + box.height - 1e-6


@st.composite
def graphs(draw, most=14):
    """Random operations, some in nested models, with edges from earlier to later ones."""
    count = draw(st.integers(1, most))
    kinds = draw(st.lists(st.sampled_from(["InputLayer", "Conv2D", "ReLU", "Add"]), min_size=count, max_size=count))
    moves = draw(st.lists(st.sampled_from(["stay", "stay", "open", "close"]), min_size=count, max_size=count))
    paths, group = [], []
    for number, move in enumerate(moves):
        if move == "open":
            group = [*group, f"model{number}"]
        elif move == "close":
            group = group[:-1]
        paths.append("/".join([*group, f"n{number}"]))
    pairs = [(i, j) for j in range(count) for i in range(j)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * count)) if pairs else []
    macs = [5 if kind == "Conv2D" else 0 for kind in kinds]
    rows = tuple(
        Operation(path, kind, ((4, 4, 2),), n, n, n / max(1, sum(macs)), n / max(1, sum(macs)))
        for path, kind, n in zip(paths, kinds, macs, strict=True)
    )
    return Structure("random", rows, tuple((paths[i], paths[j]) for i, j in sorted(edges)))


@given(graphs())
def test_boxes_do_not_overlap_and_lines_avoid_them_and_join_what_they_should(found):
    check_geometry(found._picture(10**6).layout)
    assert drawn_edges(found) == set(found.edges)


@given(graphs(), st.integers(1, 14))
def test_a_folded_drawing_still_stands_for_every_operation_once(found, boxes):
    picture = found._picture(boxes)
    check_geometry(picture.layout)
    assert sorted(row for box in leaves(picture._root) for row in box.rows) == list(range(len(found.rows)))
    of = {row: box.key for box in leaves(picture._root) for row in box.rows}
    number = {row.path: index for index, row in enumerate(found.rows)}
    real = {(of[number[a]], of[number[b]]) for a, b in found.edges}
    assert set(picture._edges) <= real
    ElementTree.fromstring(found.to_svg(boxes=boxes))


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 11)), max_size=30),
    st.lists(st.tuples(st.floats(10, 400), st.floats(10, 90)), min_size=12, max_size=12),
)
def test_boxes_of_any_size(pairs, sizes):
    edges = tuple({(a, b) for a, b in pairs if a < b})
    check_geometry(arrange(tree_of(f"n{i}" for i in range(12)), edges, lambda box: sizes[box.key]))


def chain(blocks, width=8):
    """A residual network; one width for each block."""
    inputs = keras.Input((width,), name="x")
    x = inputs
    for number, units in enumerate(blocks):
        y = layers.Dense(units, name=f"block{number}_in")(x)
        y = layers.ReLU(name=f"block{number}_relu")(y)
        x = layers.Add(name=f"block{number}_add")([x, layers.Dense(width, name=f"block{number}_out")(y)])
    return keras.Model(inputs, layers.Dense(2, name="head")(x), name="chain")


def test_repeated_blocks_are_drawn_once():
    found = structure(chain([16] * 20))
    picture = found._picture(60)
    first, block, last = picture._root.children
    assert (block.times, block.title) == (20, "block0 … block19")
    assert [found.rows[row].kind for box in leaves(block) for row in box.shown] == ["Dense", "ReLU", "Dense", "Add"]
    assert [len(box.rows) for box in leaves(block)] == [40, 20, 20]
    keys = [box.key for box in leaves(block)]
    assert set(picture._edges) == {
        (first.key, keys[0]),
        (first.key, keys[2]),
        (keys[0], keys[1]),
        (keys[1], keys[2]),
        (keys[2], last.key),
    }
    svg = found.to_svg()
    assert "\u00d7 20" in texts(svg)
    assert f"82 operations, drawn in {5} boxes; bars show their sums" in texts(svg)


def test_blocks_of_other_shapes_are_not_among_the_repeated_ones():
    picture = structure(chain([16] * 10 + [24] + [16] * 10))._picture(60)
    assert [child.times for child in picture._root.children if isinstance(child, Frame)] == [10, 10]


def test_few_boxes_fold_further_until_blocks_are_boxes():
    found = structure(chain([16] * 10 + [24] + [16] * 10))
    picture = found._picture(5)
    assert [box.times for box in leaves(picture._root)] == [1, 10, 1, 10, 1]
    assert "block0 … block9 \u00d7 10" in texts(found.to_svg(boxes=5))


def test_small_models_are_drawn_in_full():
    assert sum(1 for _ in leaves(structure(chain([8] * 14))._picture(60)._root)) == 58


def test_bars_are_as_long_as_the_shares():
    svg = ElementTree.fromstring(structure(small()).to_svg())
    bars = [e for e in svg.iter("{http://www.w3.org/2000/svg}rect") if e.get("height") == "8" and e.get("fill") == "#0b4f9c"]
    conv, dense = (float(bar.get("width")) for bar in bars)
    assert dense / conv == pytest.approx(320 / 1152, abs=0.01)


NAMES = st.text(min_size=1, max_size=60).filter(lambda name: "/" not in name)


@given(NAMES, NAMES)
def test_any_name_gives_valid_xml(first, second):
    rows = (Operation(first, second, ((1,),), 3, 3, 1.0, 1.0),)
    root = ElementTree.fromstring(Structure(second, rows, ()).to_svg().encode())
    assert root.tag.endswith("svg")


def test_names_are_shown_as_they_are():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name='<b>&"ü漢')], name="a < b & c")
    svg = structure(model).to_svg()
    assert {'<b>&"ü漢', "a < b & c"} <= set(texts(svg))
    assert ElementTree.fromstring(svg)[0].text == "Structure of a < b & c"
    assert "dense" not in ElementTree.fromstring(svg)[1].text
    assert '<b>&"ü漢 100.0 %' in ElementTree.fromstring(svg)[1].text


def test_long_names_stay_in_the_picture():
    rows = tuple(Operation(f"W{i}" * 60, "M" * 70, ((10**9,) * 9,), 1, 1, 0.5, 0.5) for i in range(2))
    scene = Structure("W" * 300, rows, ((rows[0].path, rows[1].path),))._picture(60)._scene

    def all_texts(shapes):
        for shape in shapes:
            if isinstance(shape, Text):
                yield shape
            elif isinstance(shape, Group):
                yield from all_texts(shape.shapes)

    from matplotlib import get_data_path

    for text in all_texts(scene.shapes):
        name = "DejaVuSans-Bold.ttf" if text.bold else "DejaVuSans.ttf"
        wide = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}", text.size).getlength(text.text)
        left = text.x - (wide if text.anchor == "end" else 0)
        assert left >= 0
        assert left + wide <= scene.width


def test_colours_are_told_apart_in_grey_and_text_is_dark():
    svg = structure(small(), latency={"conv": 1.0}).to_svg()

    def grey(colour):
        linear = [(int(colour[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for colour in set(re.findall(r'<text[^>]*fill="(#\w{6})"', svg)):
        assert 1.05 / (grey(colour) + 0.05) >= 4.5  # WCAG 2, contrast on white
    bars = sorted(grey(colour) for colour in ("#0b4f9c", "#f0a040", "#2f8f6b") if colour in svg)
    assert len(bars) == 3
    assert all((b + 0.05) / (a + 0.05) > 1.5 for a, b in itertools.pairwise(bars))


def test_the_same_model_gives_the_same_text():
    assert structure(nested()).to_svg() == structure(nested()).to_svg()


def test_files(tmp_path):
    found = structure(residual())
    assert found.save(tmp_path / "net.svg").read_text("utf-8") == found.to_svg()
    width = float(ElementTree.fromstring(found.to_svg()).get("width"))
    picture = Image.open(found.save(tmp_path / "new" / "net.PNG"))
    assert picture.size[0] == round(2 * width)
    assert np.asarray(picture).std() > 10
    with pytest.raises(InvalidArgument, match=r"\.svg or \.png"):
        found.save(tmp_path / "net.pdf")
    for boxes in (0, 1.5, True):
        with pytest.raises(InvalidArgument, match="boxes"):
            found.to_svg(boxes=boxes)
