"""``make bench``: everything, or what ``ONLY`` names."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.live import LIVE, Measured
from bench.measure import Figures, measure
from bench.middle import SERIES
from bench.report import BySize, chart, goals, live_table, machine, series_chart, series_table, table, write_json
from bench.servers import client_processor
from bench.works import WORKS

#: Where nothing has to be made durable.
MEMORY = Path("/dev/shm")

#: Rounds of works that take long.
FEW = {"small": 3, "small-volatile": 3, "parallel": 3, "exports": 3} | dict.fromkeys(SERIES, 4)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parts = [*WORKS, *SERIES, *LIVE]
    parser.add_argument("--only", nargs="*", choices=parts, default=[], metavar="PART", help=f"of {', '.join(parts)}")
    parser.add_argument("--rounds", type=int, default=5, help="that count, of each work")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the file system that is meant")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--chart", type=Path, help="draw them there, as SVG or PNG; the series in NAME-sizes")
    options = parser.parse_args(arguments)
    wanted = options.only or parts
    print(machine(), flush=True)
    began = time.monotonic()
    measured: dict[str, dict[str, Figures]] = {}
    by_size: dict[str, BySize] = {}
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=options.directory) as where:
        # What forks before this process is bound to a processor is bound to none.
        for name in LIVE:
            if name in wanted:
                for row in LIVE[name](Path(where)):
                    rows.append(row)
                    print(f"{row.figure}: {row.measured}", flush=True)
        client_processor()
        for name, work in WORKS.items():
            if name not in wanted:
                continue
            rounds = min(options.rounds, FEW.get(name, options.rounds))
            with tempfile.TemporaryDirectory(prefix="bench-", dir=MEMORY if work.in_memory else where) as place:
                measured[name] = measure([work], rounds, Path(place))[0]
            print("", *table(name, measured[name]), sep="\n", flush=True)
        for name, series in SERIES.items():
            if name not in wanted:
                continue
            rounds = min(options.rounds, FEW.get(name, options.rounds))
            figures = measure(list(series.works.values()), rounds, Path(where))
            by_size[name] = dict(zip(series.works, figures, strict=True))
            print("", *series_table(name, by_size[name]), sep="\n", flush=True)
    if rows:
        print("", *live_table(rows), sep="\n")
    if measured or by_size:
        print("", *goals(measured, by_size), sep="\n")
    print(f"\nafter {(time.monotonic() - began) / 60:.1f} minutes")
    if options.json:
        write_json(options.json, measured, by_size, rows)
    if options.chart:
        chart(options.chart, measured)
        series_chart(options.chart.with_stem(f"{options.chart.stem}-sizes"), by_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
