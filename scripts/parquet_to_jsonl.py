#!/usr/bin/env python3
"""The text of parquet files as JSON lines, for `scripts/parquet_to_jsonl.py *.parquet | sisa data prepare - …`; needs pyarrow.

The first line and the last one have an empty text and a mark, by which `prepare` knows that it has read everything.
"""
import argparse
import json
import signal
import sys

import pyarrow.parquet

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", nargs="+", metavar="FILE")
parser.add_argument("--column", default="text", help="the column that holds the text [text]")
parser.add_argument("--no-marks", action="store_true", help="lines of documents alone, of which a part may be taken")
arguments = parser.parse_args()
sys.stdout.reconfigure(encoding="utf-8")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when the reader does


def mark(place):
    if not arguments.no_marks:
        print(json.dumps({"text": "", "sisa_stream": place}), flush=True)


mark("begin")
for path in arguments.files:  # before the work begins, which may take long
    try:
        columns = pyarrow.parquet.read_schema(path).names
    except (OSError, pyarrow.ArrowException) as error:
        sys.exit(f"{path} cannot be read as parquet: {error}")
    if arguments.column not in columns:
        parser.error(f"{path} has no column '{arguments.column}', but {', '.join(columns)}; see --column")
nulls = 0
for path in arguments.files:
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024, columns=[arguments.column]):
            for text in batch.column(0).to_pylist():
                if text is None:
                    nulls += 1
                else:
                    print(json.dumps({"text": text}, ensure_ascii=False))
if nulls > 0:
    print(f"{nulls} rows without a text were passed over.", file=sys.stderr)
mark("end")
