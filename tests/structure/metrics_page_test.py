"""docs/training.md describes every event and every field of a step that launcher/ writes to metrics.jsonl, and no other."""
import re
import unittest

from sources import ROOT


class MetricsPage(unittest.TestCase):
    def setUp(self):
        self.page = (ROOT / "docs" / "training.md").read_text()
        self.sources = {path.name: path.read_text() for path in (ROOT / "launcher").rglob("*.cpp")}

    def described(self, heading):
        """The names in the first column of the table that begins with `heading`."""
        table = self.page[self.page.index(heading):].split("\n\n")[0]
        return {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}

    def test_events(self):
        written = {name for text in self.sources.values() for name in re.findall(r'\bevent\(\s*"(\w+)"', text)}
        self.assertGreater(len(written), 10)
        self.assertEqual(self.described("| `event` | when |"), written)

    def test_fields_of_a_step(self):
        reporter = self.sources["reporter.cpp"]
        step = reporter[reporter.index("void Reporter::step"):reporter.index("void Reporter::event")]
        written = set(re.findall(r'\{"(\w+)", ', step)) | set(re.findall(r'record\["(\w+)"\]', step))
        self.assertGreater(len(written), 8)
        self.assertEqual(self.described("| field | meaning |"), written)


if __name__ == "__main__":
    unittest.main()
