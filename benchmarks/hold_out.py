#!/usr/bin/env python3
"""Two corpora of random words with the lengths of books and of encyclopedia articles, for the table of docs/data.md.

    benchmarks/hold_out.py FOLDER
    sisa data prepare FOLDER/books.jsonl --tokenizer bytes --output FOLDER/books       # its table has the numbers; likewise articles
"""
import json
import math
import pathlib
import random
import sys

WORDS = ("the of and to in a is that it was for on are as with his they be at one have this from or had by but what some we can "
         "out other were all there when up use your how said an each she which do their time if will way about many then them "
         "write would like so these her long make thing see him two has look more day could go come did number sound no most "
         "people my over know water than call first who may down side been now find").split()


def write(path, documents, median, sigma, seed):
    """`documents` of log-normal length in characters."""
    draw = random.Random(seed)
    with open(path, "w") as file:
        for number in range(documents):
            size, words, length = int(median * math.exp(sigma * draw.gauss(0, 1))) + 20, [], 0
            while length < size:
                words.append(draw.choice(WORDS))
                length += len(words[-1]) + 1
            file.write(json.dumps({"text": f"{number} " + " ".join(words)}) + "\n")


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "books.jsonl", 369, 139500, 0.6, seed=1)
    write(folder / "articles.jsonl", 4000, 2400, 1.0, seed=2)
