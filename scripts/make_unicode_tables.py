#!/usr/bin/env python3
"""Writes what the Python package `tokenizers` takes for letters, numbers, white space and words, and how it normalises. Found by asking
it about every code point, since its parts use tables of different Unicode versions.

    python scripts/make_unicode_tables.py > data/tokenizer/unicode_tables.cpp
    python scripts/make_unicode_tables.py properties > data/tokenizer/unicode_properties.cpp

The second file has what patterns and normalizers ask for by name (\\p{Lu}, \\p{Han}, Lowercase); it takes a few minutes.
"""
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
HANGUL = range(0xAC00, 0xAC00 + 11172)  # composed by arithmetic
nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str


def matched(pattern):
    """The code points that a character class of the pre-tokenizers' regular expressions matches."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed")
    found = set()
    for i in range(0, len(CODE_POINTS), 4096):
        part = CODE_POINTS[i:i + 4096]
        left = set()
        for _, (begin, end) in split.pre_tokenize_str("".join(map(chr, part))):
            left.update(part[begin:end])
        found |= set(part) - left
    return found


def word_characters():
    """Those next to which an added token with `single_word` is not found."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("<x>", single_word=True)])
    return {c for c in CODE_POINTS if not tokenizer.encode("<x>" + chr(c)).ids}


def combining_classes():
    """{code point: class} of those that are put in order. The numbers are ranks: only their order matters."""
    def swaps(a, b):  # a stands before b and belongs behind it
        return nfd("x" + a + b) == "x" + nfd(b) + nfd(a) != "x" + nfd(a) + nfd(b)

    low, high = "\u0334", "\u0345"  # of the lowest and of the highest class
    marks = [c for c in CODE_POINTS if len(nfd(chr(c))) == 1 and (swaps(chr(c), low) or swaps(high, chr(c)))]
    marks += [c for c in map(ord, (low, high)) if c not in marks]
    ordered = []  # one of each class, lowest first
    classes = {}
    for c in marks:
        begin, end = 0, len(ordered)
        same = None
        while begin < end:
            middle = (begin + end) // 2
            if swaps(ordered[middle], chr(c)):
                end = middle
            elif swaps(chr(c), ordered[middle]):
                begin = middle + 1
            else:
                same = ordered[middle]
                break
        if same is None:
            ordered.insert(begin, chr(c))
            same = chr(c)
        classes[c] = same
    rank = {representative: i + 1 for i, representative in enumerate(ordered)}
    return {c: rank[representative] for c, representative in classes.items()}


def ranges(points):
    result = []
    for c in sorted(points):
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def rows(items, width=118):
    line = " "
    for item in items:
        if len(line) + len(item) + 2 > width:
            yield line
            line = " "
        line += " " + item + ","
    yield line


def array(kind, name, items):
    items = list(items)
    local = "static " if name.startswith("of_") else ""
    print(f"{local}const {kind} {name}[] = {{")
    print("\n".join(rows(items)))
    print("};")
    print(f"{local}const size_t num_{name} = {len(items)};\n")


def begin(header):
    print(f"""// Written by scripts/make_unicode_tables.py from what the Python package tokenizers {tokenizers.__version__} does. Do not edit.
#include "{header}"

namespace sisa::data::tables {{

// clang-format off""")


def end():
    print("""// clang-format on

}  // namespace sisa::data::tables""")


def hexadecimal(points):
    return [f"{{0x{a:x}, 0x{b:x}}}" for a, b in ranges(points)]


def write_tables():
    decompositions = {c: nfd(chr(c)) for c in CODE_POINTS if c not in HANGUL and nfd(chr(c)) != chr(c)}
    compositions = []
    for c, parts in decompositions.items():
        if nfc(parts) == chr(c) and len(parts) > 1:
            head = nfc(parts[:-1])
            assert len(head) == 1, hex(c)
            compositions.append((ord(head), ord(parts[-1]), c))
    classes = combining_classes()
    begin("data/tokenizer/unicode_tables.h")
    array("Range", "letters", hexadecimal(matched(r"\p{L}")))
    array("Range", "numbers", hexadecimal(matched(r"\p{N}")))
    array("Range", "white_spaces", hexadecimal(matched(r"\s")))
    array("Range", "word_characters", hexadecimal(word_characters()))
    array("Combining", "combining", [f"{{0x{c:x}, {k}}}" for c, k in sorted(classes.items())])
    array("Decomposition", "decompositions",
          ["{0x%x, {%s}}" % (c, ", ".join(f"0x{ord(p):x}" for p in parts)) for c, parts in sorted(decompositions.items())])
    array("Composition", "compositions", ["{0x%x, 0x%x, 0x%x}" % row for row in sorted(compositions)])
    end()


CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
SCRIPTS = """Arabic Armenian Bengali Bopomofo Canadian_Aboriginal Cherokee Common Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi
    Han Hangul Hebrew Hiragana Inherited Javanese Kannada Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Oriya Sinhala Syriac Tamil
    Telugu Thaana Thai Tibetan Yi""".split()


def removed_by(pre_tokenizer):
    """The code points at which a pre-tokenizer cuts, each between two letters."""
    return {c for c in CODE_POINTS if len(pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")) > 1}


def escaped(text):
    return '"' + "".join("\\x%02x" % b for b in text.encode()) + '"'


def changed_by(normalizer, otherwise=lambda c: c):
    """What each code point becomes, where that is not what it becomes `otherwise`."""
    changed = {c: normalizer.normalize_str(chr(c)) for c in CODE_POINTS}
    return [f"{{0x{c:x}, {escaped(text)}}}" for c, text in changed.items() if text != otherwise(chr(c))]


def write_properties():
    begin("data/tokenizer/unicode_tables.h")
    properties = {name: matched(r"\p{%s}" % name) for name in CATEGORIES + SCRIPTS}
    properties["word"] = matched(r"\w")
    properties["numeric"] = removed_by(pre_tokenizers.Digits(individual_digits=True))  # of Digits
    properties["punctuation"] = removed_by(pre_tokenizers.Punctuation())
    properties["white"] = removed_by(pre_tokenizers.WhitespaceSplit())
    names = []
    for name, points in properties.items():
        array("Range", f"of_{name}", hexadecimal(points))
        names.append(f'{{"{name}", of_{name}, num_of_{name}}}')
    array("Property", "properties", names)
    array("Mapping", "lower_case", changed_by(normalizers.Lowercase()))
    array("Mapping", "compatibility", changed_by(normalizers.NFKD(), nfd))
    end()


write_properties() if sys.argv[1:] == ["properties"] else write_tables()
