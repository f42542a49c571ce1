"""headgate in a service that generates exports of its own. ``embedded.py ROOT PORT``"""

import sys
from pathlib import Path

from aiohttp import web
from exports import chunks, rows

from headgate import Config, create_app

app = create_app(Config(root=Path(sys.argv[1])), exports={"rows": rows, "chunks": chunks})
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None)
