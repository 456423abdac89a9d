"""What arwx costs, measured beside the physical limits and beside other trackers in the same run.

table, results     a row with its passes; RESULTS.md, which keeps what was not measured this time
machine, limits    what this machine is; what it can do at best
data, wire, load   bodies, one HTTP connection, client processes
host, bare         gunicorn with arwx, and with the least that could take the same bodies
filled             a server with much in it, for all that read
server, ingest, postgres, reading, memory, growth, sdk, dashboard, research, peers     the subjects
logging_child      runs in the venv of each SDK: how long its `log()` takes
"""
