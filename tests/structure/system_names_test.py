"""Only the files of a mixer know a system by its name: everything else asks the table in model/mixers/registry.cpp.

In a C++ or CUDA source outside model/mixers/, two things count as knowing a name, comments aside:
- a comparison: a string literal that is exactly the name, next to == or !=, or as the argument of a function that compares or looks
  up (compare, starts_with, contains, find_system and the like);
- a string literal that holds `model.system: NAME`, the choice of a system in a recipe.
A literal that is merely a value, such as a default, the program's own name in a message or the `model_type` of an exported file,
is neither, and a namespace or the path of an include is no such literal.
"""
import pathlib
import re
import unittest

from sources import FOLDERS, ROOT, PlantedTree, line_of, source_files

OWN_FOLDER = "model/mixers"
SYSTEM = re.compile(r'\bSystem \w+\(\) \{\s*return \{\s*\.name = "([^"]+)"')  # the first lines of a function that gives a System
COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\\\s]*)\((?P<raw>.*?)\)(?P=mark)"|"(?P<text>(?:[^"\\\n]|\\.)*)"|\'(?:[^\'\\\n]|\\.)+\'', re.DOTALL)
# What stands before or after a literal that is compared; the literal itself may be made a string or a string_view.
MADE_STRING = r"(?:std::)?string(?:_view)?\s*[({]\s*"
COMPARED_BEFORE = re.compile(
    rf"(?:[=!]=\s*\(?\s*|\b(?:compare|equal|starts_with|ends_with|contains|count|find|at|strcmp|find_system)\s*\(\s*(?:[^();]*,\s*)?)"
    rf"(?:{MADE_STRING})?$")
COMPARED_AFTER = re.compile(r"^(?:sv|s)?\s*[)}]?\s*[=!]=")


def system_names(root):
    return [name for path in sorted((root / OWN_FOLDER).glob("*.cpp")) for name in SYSTEM.findall(path.read_text())]


def literals(text):
    """(position, end, content) of each string literal; comments and characters are passed over."""
    for match in COMMENT_OR_LITERAL.finditer(text):
        content = match["text"] if match["text"] is not None else match["raw"]
        if content is not None:
            yield match.start(), match.end(), content


def names_known(path, names):
    """(line number, what) of each place where a file knows one of the names."""
    text = path.read_text()
    choice = re.compile(rf"model\.system: ({'|'.join(map(re.escape, names))})\b")
    for begin, end, content in literals(text):
        chosen = choice.search(content)
        if chosen:
            yield line_of(text, begin), f"speaks of the choice `{chosen[0]}`"
        elif content in names and (COMPARED_BEFORE.search(text[max(0, begin - 200):begin]) or COMPARED_AFTER.search(text[end:end + 20])):
            yield line_of(text, begin), f'compares with "{content}"'


def problems(root):
    """{file: [sentence, ...]} of all files that know a system's name."""
    names = system_names(root)
    found = {}
    for path in source_files(root, FOLDERS):
        name = path.relative_to(root).as_posix()
        if not name.startswith(OWN_FOLDER + "/"):
            for line, what in names_known(path, names):
                found.setdefault(name, []).append(f"{name}:{line} {what}; put what depends on the system into its mixer or registry row")
    return found


class ThisRepository(unittest.TestCase):
    def test_it_has_systems(self):
        names = system_names(ROOT)
        self.assertLessEqual({"sisa", "transformer"}, set(names), "is the way of reading the systems' names out of date?")
        registry = (ROOT / OWN_FOLDER / "registry.cpp").read_text()
        self.assertEqual(len(re.findall(r"\w+_system\(\)", registry)), len(names), "a row of the registry whose name was not read")

    def test_no_file_knows_a_system(self):
        found = [sentence for sentences in problems(ROOT).values() for sentence in sentences]
        self.assertFalse(found, "\n" + "\n".join(found))


class PlantedMistakes(PlantedTree):
    def setUp(self):
        super().setUp()
        for name in "transformer", "mamba2":
            self.plant(f"model/mixers/{name}.cpp", f'System {name}_system() {{\n  return {{.name = "{name}",\n          .doc = "…"}};\n}}\n')
        self.plant("model/mixers/sisa.cpp", 'System sisa_system() { return {.name = "sisa"}; }\nif (config.system == "sisa") {}\n')

    def assert_line(self, line, pattern):
        """`line`, as the second of a file, is the only problem."""
        for path in "model/planted.cu", "launcher/run/planted.cpp", "data/planted.h":
            self.plant(path, f"// first\n{line}\n")
            found = problems(self.root)
            (self.root / path).unlink()
            self.assertEqual(list(found), [path], line)
            self.assertEqual(len(found[path]), 1, line)
            self.assertRegex(found[path][0], f"^{re.escape(path)}:2 {pattern}")

    def test_what_is_no_comparison(self):
        self.plant("launcher/planted.cpp", '\n'.join([
            '// if (system == "sisa") and "model.system: sisa" in a comment',
            '/* model.system: sisa, config.system == "sisa" */',
            '#include "model/mixers/sisa.h"',
            'namespace sisa { using sisa::model::System; }',
            'std::string system = "sisa", name = "sisa", what = error.what();',
            'fmt::print("sisa: {}\\n", text == "" ? "none" : text);',
            'const std::map<std::string, std::string> keys = {{"model_type", "sisa"}};',
            'throw Error("Run `sisa doctor`; model.system is \'{}\'", system);',
            'const bool quoted = c == \'"\' || text == "not sisa" || text == "sisa-d16";',
            'const auto words = R"(system == "sisa")";',
            'CLI::App app("sisa", "sisa"); if (device == "cuda") {}',
        ]) + "\n")
        self.assertEqual(problems(self.root), {})

    def test_comparisons_with_every_name(self):
        for name in "sisa", "transformer", "mamba2":
            self.assert_line(f'if (config.system == "{name}") return;', f'compares with "{name}"')

    def test_every_form_of_comparison(self):
        for expression in ('"sisa" == c.system', 'c.system != "sisa"', 'c.system ==\t"sisa"', '"sisa"sv == c.system',
                           'c.system == std::string_view("sisa")', 'std::string("sisa") == c.system', 'c.system.compare("sisa")',
                           'c.system.starts_with("sisa")', 'std::strcmp(name, "sisa")', 'table.contains("sisa")',
                           'model::find_system("sisa")', 'c.system == R"(sisa)"'):
            self.assert_line(f"const auto x = {expression};", 'compares with "sisa"')

    def test_a_comparison_over_two_lines(self):
        self.plant("model/planted.cpp", 'const bool x = c.system ==\n    "sisa";\n')
        self.assertRegex(problems(self.root)["model/planted.cpp"][0], ":2 compares")

    def test_the_choice_in_a_recipe(self):
        self.assert_line('add("d_state").only_with("model.system: mamba2", chosen);', "speaks of the choice `model.system: mamba2`")
        self.assert_line('fmt::print("only with model.system: sisa, since {}", reason);', "speaks of the choice `model.system: sisa`")

    def test_each_place_is_told(self):
        self.plant("model/planted.cpp", 'if (s == "sisa") {}\n\nif (s == "transformer") {}\n')
        self.assertEqual(len(problems(self.root)["model/planted.cpp"]), 2)


if __name__ == "__main__":
    unittest.main()
