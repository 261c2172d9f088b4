"""Small tokenizers with the sections of the families in use, trained by the Python package `tokenizers`, and texts to try them on.

    python tests/data/tokenizer_families.py golden    writes golden_tokenizers.jsonl and golden_splits.jsonl beside this file

tokenizer_golden_test.cpp reads these; tests/program/tokenizer_test.py compares with the package itself on far more text.
"""
import json
import pathlib
import random
import sys

from tokenizers import Regex, Tokenizer, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"]
CONTRACTED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SLASH_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = "|".join(part + CONTRACTED for part in CASED) + r"|\p{N}{1,3}" + SLASH_TAIL
TEKKEN = "|".join(CASED) + r"|\p{N}" + SLASH_TAIL
NO_HAN = [part.replace("]*", r"&&[^\p{Han}]]*").replace(r"\p{M}]+", r"\p{M}&&[^\p{Han}]]+") for part in CASED]
KIMI = r"[\p{Han}]+|" + "|".join(part + CONTRACTED for part in NO_HAN) + r"|\p{N}{1,3}" + TAIL
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def cuts(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def normal(*parts):
    return {"type": "Sequence", "normalizers": list(parts)}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def digits(each):
    return {"type": "Digits", "individual_digits": each}


def decoders(*parts):
    return {"type": "Sequence", "decoders": list(parts)}


def metaspace(scheme, whether):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": whether}


PIECES = decoders(replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"})
STRIPPED = decoders(*PIECES["decoders"], {"type": "Strip", "content": " ", "start": 1, "stop": 0})
SENTENCEPIECE = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}

# name: (normalizer, pre_tokenizer, decoder, model's keys)
FAMILIES = {
    "gpt2": (None, byte_level(regex=True), None, {}),
    "roberta": (None, byte_level(prefix=True, regex=True), None, {}),
    "neox": ({"type": "NFC"}, byte_level(regex=True), None, {}),
    "olmo2": (None, cuts(split(CL100K, "Removed", True), byte_level()), None, {}),
    "llama3": (None, cuts(split(LLAMA3), byte_level()), None, {"ignore_merges": True}),
    "qwen2": ({"type": "NFC"}, cuts(split(QWEN2), byte_level()), None, {}),
    "qwen3.5": ({"type": "NFC"}, cuts(split(QWEN35), byte_level()), None, {}),
    "o200k": (None, cuts(split(O200K), byte_level()), None, {}),
    "o200k_removed": (None, cuts(split(O200K, "Removed", True), byte_level()), None, {"ignore_merges": True}),
    "tekken": (None, cuts(split(TEKKEN), byte_level()), None, {"ignore_merges": True}),
    "kimi": (None, cuts(split(KIMI), byte_level()), None, {}),
    "deepseek3": ({"type": "Sequence", "normalizers": []},
                  cuts(split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK3), byte_level()), None, {}),
    "deepseek1": ({"type": "Sequence", "normalizers": []},
                  cuts(split("[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷΑ-Ωα-ωА-яЁё]+"), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
                       split(r"\s+$"), split("[一-龥ࠀ-一가-퟿]+"), digits(True), byte_level()), None, {}),
    "starcoder": (None, cuts(digits(True), byte_level(regex=True)), None, {}),
    "falcon": (None, cuts({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(regex=True), digits(False),
                          split("[0-9][0-9][0-9]")), None, {}),
    "falcon3": (None, cuts({"type": "Punctuation", "behavior": "Contiguous"}, digits(True), byte_level(regex=True)), None, {}),
    "bloom": (None, cuts(split(BLOOM), byte_level()), None, {}),
    "clip": (normal({"type": "NFC"}, replace(r"\s+", " ", "Regex"), {"type": "Lowercase"}),
             cuts(split(CLIP, "Removed", True), byte_level()), None,
             {"unk_token": "<|endoftext|>", "end_of_word_suffix": "</w>", "continuing_subword_prefix": ""}),
    "unk_beside_bytes": (None, byte_level(regex=True), None, {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True}),
    "llama2": (normal({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")), None, STRIPPED, SENTENCEPIECE),
    "llama2_words": (normal({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")), None, STRIPPED, SENTENCEPIECE),
    "gemma_words": (replace(" ", "▁"), split(" ", "MergedWithPrevious", kind="String"), PIECES, SENTENCEPIECE),
    "mistral": (None, metaspace("first", False), STRIPPED, SENTENCEPIECE),
    "metaspace_always": (None, metaspace("always", True), metaspace("always", True), SENTENCEPIECE),
    "metaspace_never": (None, metaspace("never", True), PIECES, SENTENCEPIECE),
    "gemma": (replace(" ", "▁"), split(" ", "MergedWithPrevious", kind="String"), PIECES, SENTENCEPIECE),
    "unknown_apart": (None, metaspace("always", True), None, {"unk_token": "<unk>"}),
    "unknown_fused": ({"type": "NFKC"}, {"type": "WhitespaceSplit"}, None, {"unk_token": "<unk>", "fuse_unk": True}),
    "quicktour": (None, {"type": "Whitespace"}, None, {"unk_token": "<unk>"}),
    "bert_cuts": (normal({"type": "NFD"}, {"type": "Strip", "strip_left": True, "strip_right": True}), {"type": "BertPreTokenizer"},
                  {"type": "BPEDecoder", "suffix": "</w>"}, {"unk_token": "<unk>", "end_of_word_suffix": "</w>"}),
    "prefixes": ({"type": "NFKD"}, {"type": "CharDelimiterSplit", "delimiter": " "}, None,
                 {"unk_token": "<unk>", "continuing_subword_prefix": "##"}),
    "bytes_first": ({"type": "ByteLevel"}, None, byte_level(), {}),
}
SPECIAL = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<pad>"]
POOLS = ["abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "0123456789", "     \t\n\r\u00a0\u2003\u3000\x85\u2028\x0b\x0c",
         "'’.,;:!?-_()[]{}<>|@#$%^&*+=/\\\"`~", "éèüñçøßÄ", "\u0300\u0301\u0323\u0327\u0308\u0345\u0334\u0591\u0651\u3099",
         "가각힣ᄀ까ᅢᆨᆩ", "日本語中文漢字かなカナー", "привет мир ЁЙ", "अआइकखगािी्ं१२", "😀👍🏽👨‍👩‍👧🇩🇪", "ǅǈʰˠªº", "²³½Ⅷ①٣", "▁Ġ<0x41>",
         "\u017f\u212a\u2126\u1e9b\u0344\u0340\u0958\ufb1d\u2adc\U0001d15eﬁ㎏"]
WORDS = ["'s", "'S", "'ll", "'Ve", "'RE", "'ſ", "<|endoftext|>", "[A]", " [L]", "[R]  ", "cat", "cats", "  ", "   \n\n", "don't", "DON'T", "\r\n",
         "\n\n\n", " \n ", "1234567", " 12", "  12", "\t\tif", " " * 12, "</s>", "<s>", "HTTPServer", "camelCase", "x//\n", "</w>", "<unk>",
         "hello world", "Größe", "x = 3.14;", "▁the", " the", "the"]


def fuzz(count, seed):
    draw = random.Random(seed)
    for _ in range(count):
        text = ""
        for _ in range(draw.randint(1, 12)):
            kind = draw.random()
            if kind < 0.25:
                text += draw.choice(WORDS)
            elif kind < 0.85:
                pool = draw.choice(POOLS)
                text += "".join(draw.choice(pool) for _ in range(draw.randint(1, 6)))
            elif kind < 0.95:
                c = draw.randrange(0x110000)
                text += chr(c) if not 0xD800 <= c <= 0xDFFF else "A"
            else:
                text += draw.choice(" \n\u0301a") * draw.randint(1, 80)
        yield text


def code_points():
    """Every character alone, among letters and digits, and with marks."""
    for begin in range(0, 0x110000, 64):
        chars = [chr(c) for c in range(begin, begin + 64) if not 0xD800 <= c <= 0xDFFF]
        if chars:
            yield "\x02".join(f"a{c}b {c} {c}1{c}\u0301{c}{c}" for c in chars)


def family(name, vocab_size=700):
    """The tokenizer.json of a family as an object."""
    normalizer, pre_tokenizer, decoder, keys = FAMILIES[name]
    of_bytes = "ByteLevel" in json.dumps([normalizer, pre_tokenizer])
    empty = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer,
             "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": decoder or (byte_level() if of_bytes else None),
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                       "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {}, "merges": []}}
    tokenizer = Tokenizer.from_str(json.dumps(empty))
    if name.endswith("words"):  # as SentencePiece trains: no token has a space behind other text
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = SPECIAL + ([f"<0x{b:02X}>" for b in range(256)] if keys.get("byte_fallback") and not of_bytes else [])
    affixes = {key: keys[key] for key in ("continuing_subword_prefix", "end_of_word_suffix") if keys.get(key)}
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False, limit_alphabet=400,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if of_bytes else [], **affixes)
    text = [line for file in sorted(HERE.glob("*_test.cpp")) for line in file.read_text().splitlines()]
    tokenizer.train_from_iterator(text + WORDS * 5 + [pool[i:] for pool in POOLS[:-2] for i in range(3)] * 3, trainer)
    result = json.loads(tokenizer.to_str())
    result["model"].update(keys)
    result["pre_tokenizer"] = pre_tokenizer
    result["added_tokens"] = [token for token in result["added_tokens"] if token["content"] in SPECIAL]  # without <0x41>
    if name in ("gpt2", "llama3", "llama2", "mistral", "clip"):
        for content, flags in {"[A]": {}, "[L]": {"lstrip": True}, "[R]": {"rstrip": True}, "cat": {"single_word": True},
                               "é": {"normalized": True}, "  ": {}, "[N]": {"normalized": True, "special": True}}.items():
            result["added_tokens"].append({"id": 7, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                                           "normalized": False, "special": False, **flags})
    return result


def cuts_of(pre_tokenizer, text):
    return [piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)]


def pattern(draw, depth=0):
    """A random regular expression of what pattern_parser.h reads."""
    def atom():
        kind = draw.random()
        if kind < 0.35:
            return draw.choice(["a", "b", "c", "s", "k", " ", "'", "1", r"\n", "é", "中", r"\.", r"\x41", r"\x{e9}", "A"])
        if kind < 0.6:
            return draw.choice([r"\s", r"\S", r"\d", r"\w", r"\W", r"\p{L}", r"\p{Lu}", r"\p{Ll}", r"\p{N}", r"\P{L}", r"\p{^N}", ".", r"\p{Han}",
                                r"\p{M}", r"\p{P}", r"\h"])
        if kind < 0.8:
            items = "".join(draw.choice([r"\s", r"\p{L}", r"\p{N}", "a-c", "A-Z", "1", " ", r"\n", "'", "é", "一-龥", "-", r"\]", "[b1]", "[^a]", "."])
                            for _ in range(draw.randint(1, 4)))
            return "[" + draw.choice(["", "", "^"]) + items.strip("-") + draw.choice(["", "", "", "&&[^a]", r"&&\w"]) + "]" if items.strip("-") else "x"
        if kind < 0.86:
            return draw.choice([r"\b", r"\B", "^", "$", r"\A", r"\z", r"\Z", "(?<=a)", "(?<!b)", r"(?<=\s|ab)", "(?<![a1]|é)"])
        if depth > 2:
            return "b"
        return draw.choice(["(?:{})", "({})", "(?={})", "(?!{})", "(?i:{})", "(?>{})"]).format(pattern(draw, depth + 1))

    def part():
        one = atom()
        simple = not one.startswith(("(?=", "(?!", "(?<", "^", "$", r"\b", r"\B", r"\A", r"\z", r"\Z"))
        if simple and draw.random() < 0.45:
            one += draw.choice(["*", "+", "?", "{1,3}", "{2}", "{2,}", "{,2}"]) + draw.choice(["", "", "", "?", "+"])
        return one

    return "|".join("".join(part() for _ in range(draw.randint(1, 3))) for _ in range(draw.randint(1, 3)))


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
PATTERN_TEXTS = ["", "a", "aab1 c's\n", "A sSkK\u212a\u017f é中中b\n\n  x1.1", "ab ab\r\nabc 123abc!!", "éa  'S-]a\u0301b", "\n", "b\n"]


def splits(count, seed):
    """{"pre_tokenizer": …, "cases": [[text, pieces], …]}, as many as the package can make of `count` random patterns."""
    draw = random.Random(seed)
    for _ in range(count):
        expression, behavior, invert = pattern(draw), draw.choice(BEHAVIORS), draw.random() < 0.3
        texts = PATTERN_TEXTS + ["".join(draw.choice("aabbc s1'\n é中A.k-") for _ in range(draw.randint(1, 30))) for _ in range(4)]
        try:
            cut = pre_tokenizers.Split(Regex(expression), behavior.lower().replace("mergedwith", "merged_with_"), invert)
            cases = [[text, cuts_of(cut, text)] for text in texts]
        except BaseException as error:  # what the package refuses, or gives up on in a panic
            if isinstance(error, KeyboardInterrupt):
                raise
            continue
        yield {"pre_tokenizer": split(expression, behavior, invert), "cases": cases}


def known_splits():
    """Each family's cuts of chosen and random text."""
    for name, (_, pre_tokenizer, _, _) in FAMILIES.items():
        if pre_tokenizer:
            empty = {"version": "1.0", "added_tokens": [], "pre_tokenizer": pre_tokenizer,
                     "model": {"type": "BPE", "vocab": {}, "merges": []}}
            cut = Tokenizer.from_str(json.dumps(empty)).pre_tokenizer
            texts = ["It's 12345 DON'T  stop\r\n\r\n x//\n日本語かな ①²\u0301x", *fuzz(6, 100)]
            yield {"name": name, "pre_tokenizer": pre_tokenizer, "cases": [[text, cuts_of(cut, text)] for text in texts]}
    for expression in (GPT2, r"\d{1,3}(?=(?:\d{3})*\b)", "b", r"\s+"):
        for behavior in BEHAVIORS:
            for invert in (False, True):
                cut = pre_tokenizers.Split(Regex(expression), behavior.lower().replace("mergedwith", "merged_with_"), invert)
                texts = ["abba  b1234567 \nb", "b", "xx"]
                yield {"pre_tokenizer": split(expression, behavior, invert), "cases": [[text, cuts_of(cut, text)] for text in texts]}


def write_golden():
    def write(name, rows):
        with open(HERE / name, "w") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")

    def rows():
        for name in FAMILIES:
            file = family(name, 440)
            texts = ["hello world", "It's 12345 DON'T  stop\r\n\r\n x//\n日本語かな ①²\u0301x </s> cat,cats", *fuzz(8, name)]
            tokenizer = Tokenizer.from_str(json.dumps(file))
            yield {"name": name, "file": file, "cases": [[t, tokenizer.encode(t, add_special_tokens=False).ids] for t in texts]}

    write("golden_tokenizers.jsonl", rows())
    write("golden_splits.jsonl", [*known_splits(), *splits(400, 1)])


if __name__ == "__main__" and sys.argv[1:] == ["golden"]:
    write_golden()
