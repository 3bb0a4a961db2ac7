"""The Chrome trace event format, strictly: what chrome://tracing and Perfetto read ("Trace Event Format", 2016, and Perfetto's importer)."""

import json

NUMBER = int | float
WORDS = {"process_name": "name", "thread_name": "name", "thread_sort_index": "sort_index"}


def checked(text: str) -> list[dict]:
    """The events of a trace, each held against the format: complete events in lanes that have a name, none across another's end."""
    document = json.loads(text)
    assert set(document) == {"traceEvents", "displayTimeUnit", "otherData"} and document["displayTimeUnit"] in ("ms", "ns")
    names, lanes = {}, {}
    for event in document["traceEvents"]:
        assert event["ph"] in ("M", "X") and type(event["pid"]) is int and type(event["name"]) is str and event["name"], event
        if event["ph"] == "M":
            assert set(event["args"]) == {WORDS[event["name"]]} and "ts" not in event, event
            lane = event["name"], event["pid"], event.get("tid")
            assert (event["name"] != "process_name") == ("tid" in event) and lane not in names, event
            names[lane] = event["args"]
            continue
        assert set(event) <= {"ph", "pid", "tid", "ts", "dur", "name", "cat", "args", "cname"} and type(event["tid"]) is int, event
        assert all(isinstance(event[key], NUMBER) and type(event[key]) is not bool and event[key] >= 0 for key in ("ts", "dur")), event
        assert ("process_name", event["pid"], None) in names and ("thread_name", event["pid"], event["tid"]) in names, event
        lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in lanes.values():
        around: list[float] = []
        for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while around and around[-1] <= begin + 1e-6:
                around.pop()
            assert not around or end <= around[-1] + 2e-4, (begin, end, around)      # times are written to 0.1 ns
            around.append(end)
    return document["traceEvents"]
