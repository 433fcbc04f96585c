"""Checks of what LightGBM trusts in a model's text: the trees are trees, and their numbers are finite.

A wrong index or a short list makes LightGBM access memory out of bounds. It then crashes at once, crashes on a later
loan, or returns garbage. So running the model proves nothing.
"""

from collections.abc import Iterator
from math import isfinite, isnan

from credit_risk_model.errors import ModelArchiveError

_NODE_LINES = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "internal_count")
_CATEGORICAL = 1  # bit of a decision type: the node's threshold is an index into the categorical splits
_KINDS = 16  # number of decision types: bits for categorical, default direction and missing type


def check_trees(model: bytes, columns: int) -> None:
    """Check the trees of a model that LightGBM's `save_model` wrote, as far as predictions use them.

    Args:
        model: The whole text.
        columns: Number of values in a row.

    Raises:
        ModelArchiveError: A tree is damaged; the message names the tree and the line.
    """
    header, _, rest = model.partition(b"\nTree=")
    trees = (b"Tree=" + rest).rpartition(b"end of trees\n")[0].split(b"Tree=")[1:]
    if not trees:
        raise ModelArchiveError("has no trees")
    sizes = header.rpartition(b"\ntree_sizes=")[2].split(b"\n")[0]
    if sizes.split() != [b"%d" % (len(tree) + len(b"Tree=")) for tree in trees]:
        raise ModelArchiveError("has trees whose sizes differ from tree_sizes")
    for number, tree in enumerate(trees):
        try:
            wrong = next((what for what, sound in _check_tree(tree, columns) if not sound), None)
        except (KeyError, ValueError):
            wrong = "lines"
        if wrong:
            raise ModelArchiveError(f"has wrong {wrong} in tree {number}")


def _check_tree(tree: bytes, columns: int) -> Iterator[tuple[str, bool]]:
    """Yield each line's name and whether the line is valid; each check relies on the ones before it.

    Raises:
        KeyError, ValueError: A line is missing or is not numeric.
    """
    pairs = [line.split(b"=") for line in tree.split(b"\n")[1:] if line]
    lines = {name.strip().decode(): values.split() for name, values in pairs}
    # Parsers may differ in which of two equal lines counts, in where a line ends, and in how they read 1_0.
    yield "lines", len(lines) == len(pairs) and b"\r" not in tree and not any(b"_" in values for _, values in pairs)
    yield "is_linear", lines["is_linear"] == [b"0"]
    (leaves,), (categories,) = (map(int, lines[name]) for name in ("num_leaves", "num_cat"))
    yield "leaf_value", len(lines["leaf_value"]) == leaves and all(map(isfinite, map(float, lines["leaf_value"])))
    if leaves == 1:
        return
    for name in _NODE_LINES:
        yield name, len(lines[name]) == leaves - 1
    yield "leaf_count", len(lines["leaf_count"]) == leaves
    # Each node but the root, and each leaf, is the child of exactly one node, so there are no cycles.
    children = sorted(map(int, lines["left_child"] + lines["right_child"]))
    yield "left_child or right_child", children == [*range(-leaves, 0), *range(1, leaves - 1)]
    yield "split_feature", all(0 <= int(feature) < columns for feature in lines["split_feature"])
    # A threshold that only separates missing values is infinite.
    threshold, kinds = list(map(float, lines["threshold"])), list(map(int, lines["decision_type"]))
    yield "threshold", not any(map(isnan, threshold))
    yield "decision_type", all(0 <= kind < _KINDS for kind in kinds)
    places = [place for kind, place in zip(kinds, threshold, strict=True) if kind & _CATEGORICAL]
    yield "num_cat", 0 <= categories <= leaves and all(0 <= place < categories for place in places)
    if categories:
        boundaries, levels = (list(map(int, lines[name])) for name in ("cat_boundaries", "cat_threshold"))
        yield "cat_boundaries", len(boundaries) == categories + 1 and boundaries == sorted(boundaries)
        yield "cat_threshold", (boundaries[0], boundaries[-1]) == (0, len(levels))
