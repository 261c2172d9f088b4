#!/usr/bin/env python3
"""The text of parquet files as JSON lines, for `scripts/parquet_to_jsonl.py *.parquet | sisa data prepare - …`; needs pyarrow."""
import argparse
import json
import signal
import sys

import pyarrow.parquet

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("files", nargs="+", metavar="FILE")
parser.add_argument("--column", default="text", help="the column that holds the text [text]")
arguments = parser.parse_args()
sys.stdout.reconfigure(encoding="utf-8")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when the reader does
for path in arguments.files:
    with pyarrow.parquet.ParquetFile(path) as file:
        if arguments.column not in file.schema_arrow.names:
            parser.error(f"{path} has no column '{arguments.column}', but {', '.join(file.schema_arrow.names)}; see --column")
        for batch in file.iter_batches(batch_size=1024, columns=[arguments.column]):
            for text in batch.column(0).to_pylist():
                if text is not None:
                    print(json.dumps({"text": text}, ensure_ascii=False))
