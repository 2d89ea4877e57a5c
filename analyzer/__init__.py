"""lockscope: what servers and clients of NFSv3 believe about locks and mounts, read from packet captures.

    import analyzer
    analysis = analyzer.analyze(["server.pcap"])
    analysis.findings          # a DataFrame; so are .calls, .locks, .waits, .mounts, ...
    analysis.to_json()         # the same document as `lockscope analyze --format json`

The folders are the stages of the data flow: capture, frames, segments, messages, records, sessions, findings,
render. Importing this package imports none of them, and nothing heavy.
"""

__version__ = "0.1.0"
