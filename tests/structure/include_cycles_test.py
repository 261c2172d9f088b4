"""No include cycles: with a header and its sources taken as one component (x.h, x.cpp, x.cu), no component includes itself through
others, in any folder."""
import pathlib
import unittest

from sources import FOLDERS, ROOT, PlantedTree, includes, source_files


def component(name):
    return str(pathlib.PurePosixPath(name).with_suffix(""))


def component_graph(root):
    """{component: {component that it includes: the include, as "file:line includes name"}}."""
    graph = {}
    for path in source_files(root, FOLDERS):
        own = component(path.relative_to(root).as_posix())
        edges = graph.setdefault(own, {})
        for line, mark, name in includes(path):
            if mark == '"' and component(name) != own:
                edges.setdefault(component(name), f"{path.relative_to(root)}:{line} includes {name}")
    return graph


def reachable(graph, start):
    """Every component that `start` includes, through others or itself."""
    reached, todo = set(), [start]
    while todo:
        for following in graph.get(todo.pop(), {}):
            if following not in reached:
                reached.add(following)
                todo.append(following)
    return reached


def cycles(graph):
    """The largest sets of components that all include one another, sorted."""
    below = {name: reachable(graph, name) for name in graph}
    found = {tuple(sorted(other for other in below[name] if name in below.get(other, ()))) for name in graph if name in below[name]}
    return [list(cycle) for cycle in sorted(found)]


def shortest_way(graph, cycle):
    """The includes along a shortest cycle through the first component of a set."""
    start = cycle[0]
    ways = {start: []}  # from `start`, in the order in which components are reached
    todo = [start]
    while todo:
        current = todo.pop(0)
        for following, include in sorted(graph[current].items()):
            if following == start:
                return ways[current] + [include]
            if following in cycle and following not in ways:
                ways[following] = ways[current] + [include]
                todo.append(following)
    raise AssertionError(f"{start} is in no cycle")


def describe(graph, cycle):
    return "\n  ".join([f"include cycle of {', '.join(cycle)}:", *shortest_way(graph, cycle)])


class ThisRepository(unittest.TestCase):
    def test_it_has_no_cycles(self):
        graph = component_graph(ROOT)
        found = [describe(graph, cycle) for cycle in cycles(graph)]
        self.assertFalse(found, "\n" + "\n".join(found))


class PlantedMistakes(PlantedTree):
    def found(self):
        return cycles(component_graph(self.root))

    def test_a_clean_tree_passes(self):
        self.plant("data/a.h", '#include "data/b.h"\n')
        self.plant("data/a.cpp", '#include "data/a.h"\n#include "data/b.h"\n#include "data/tokens/c.h"\n')
        self.plant("data/b.h", '#include "data/tokens/c.h"\n')
        self.plant("data/tokens/c.h", "#include <data/a.h>\n")  # not one of our includes; another test refuses it
        self.assertEqual(self.found(), [])

    def test_two_headers(self):
        self.plant("data/a.h", '#include "data/b.h"\n')
        self.plant("data/b.h", '#include "data/a.h"\n')
        self.assertEqual(self.found(), [["data/a", "data/b"]])

    def test_a_cycle_through_a_source(self):
        self.plant("model/a.h", "#pragma once\n")
        self.plant("model/a.cu", '#include "model/a.h"\n#include "model/rooms/b.h"\n')
        self.plant("model/rooms/b.h", "#pragma once\n")
        self.plant("model/rooms/b.cpp", '#include "model/rooms/b.h"\n#include "model/a.h"\n')
        self.assertEqual(self.found(), [["model/a", "model/rooms/b"]])

    def test_a_long_cycle_beside_what_hangs_on_it(self):
        for name, following in ("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("above", "a"):
            self.plant(f"common/{name}.h", f'#include "common/{following}.h"\n')
        self.assertEqual(self.found(), [["common/b", "common/c", "common/d"]])

    def test_two_cycles_are_told_apart(self):
        for name, following in ("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("b", "c"):
            path = self.root / f"common/{name}.h"
            self.plant(f"common/{name}.h", (path.read_text() if path.exists() else "") + f'#include "common/{following}.h"\n')
        self.assertEqual(self.found(), [["common/a", "common/b"], ["common/c", "common/d"]])

    def test_the_message_names_the_includes(self):
        self.plant("data/a.h", "// a\n#include \"data/b.h\"\n")
        self.plant("data/b.cpp", '#include "data/a.h"\n')
        graph = component_graph(self.root)
        self.assertEqual(describe(graph, self.found()[0]),
                         "include cycle of data/a, data/b:\n  data/a.h:2 includes data/b.h\n  data/b.cpp:1 includes data/a.h")


if __name__ == "__main__":
    unittest.main()
