"""The Chrome trace event format, strictly: what chrome://tracing and Perfetto read ("Trace Event Format", 2016, and Perfetto's importer)."""

import json

NUMBER = int | float
WORDS = {"process_name": "name", "thread_name": "name", "thread_sort_index": "sort_index"}


def checked(text: str) -> list[dict]:
    """The events of a trace, each held against the format: complete events in lanes that have a name, none across another's end.

    What else is held is what Perfetto's UI (v52) was seen to need, or to show otherwise.
    """
    document = json.loads(text)
    assert set(document) == {"traceEvents", "displayTimeUnit", "otherData"} and document["displayTimeUnit"] in ("ms", "ns")
    names, lanes, order = {}, {}, []
    for event in document["traceEvents"]:
        assert event["ph"] in ("M", "X") and type(event["pid"]) is int and type(event["name"]) is str and event["name"], event
        assert event["pid"] != 0 and event.get("tid") not in (0, event["pid"]), event         # idle task, "main thread"
        if event["ph"] == "M":
            assert set(event["args"]) == {WORDS[event["name"]]} and "ts" not in event, event
            lane = event["name"], event["pid"], event.get("tid")
            assert (event["name"] != "process_name") == ("tid" in event) and lane not in names, event
            names[lane] = event["args"]
            order += [event["tid"] for _ in range(event["name"] == "thread_name")]
            continue
        assert set(event) <= {"ph", "pid", "tid", "ts", "dur", "name", "cat", "args", "cname"} and type(event["tid"]) is int, event
        assert all(isinstance(event[key], NUMBER) and type(event[key]) is not bool and event[key] >= 0 for key in ("ts", "dur")), event
        assert ("process_name", event["pid"], None) in names and ("thread_name", event["pid"], event["tid"]) in names, event
        lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    assert order == sorted(order)                # by which lanes are shown
    for spans in lanes.values():                 # whole nanoseconds: Perfetto drops what crosses another span after rounding
        whole = [(round(1000 * begin), round(1000 * end)) for begin, end in spans]
        assert all(abs(1000 * begin - at) < 1e-3 and abs(1000 * end - until) < 1e-3 for (begin, end), (at, until) in zip(spans, whole))
        assert whole == sorted(whole, key=lambda span: (span[0], -span[1]))      # the outer one first where two begin at once
        around: list[float] = []
        for begin, end in whole:
            while around and around[-1] <= begin:
                around.pop()
            assert not around or end <= around[-1], (begin, end, around)
            around.append(end)
    return document["traceEvents"]
