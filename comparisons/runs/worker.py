"""A worker process: reads cases as JSON lines, runs them, writes events as JSON lines.

It ends when its standard input closes, so that it never outlives the run that started it.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from models.errors import ConcordError


def main() -> None:
    """Serves cases until standard input closes."""
    # what libraries print must not mix with the events
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as channel:
        os.dup2(2, 1)

        def send(event: str, **content: object) -> None:
            print(json.dumps({"event": event, **content}), file=channel, flush=True)

        jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
        while True:
            job = jobs.get()
            try:
                send("record", record=_serve(job, send))
            except ConcordError as error:
                send("error", kind=type(error).__name__, message=str(error))
            except Exception as error:  # whatever it is, the other cases go on
                traceback.print_exc()
                send("error", kind="", message=f"{type(error).__name__}: {error}")


def _serve(job: dict[str, Any], send: Any) -> dict[str, Any]:
    from comparisons.runs.flow import run_case
    from comparisons.runs.plan import plan
    from comparisons.store.entries import Store

    # what the imports made stays: looking through it cost a tenth of the time spent compiling
    gc.freeze()

    def activity(event: str, name: str, seconds: float) -> None:
        send("activity", activity=event, name=name, seconds=seconds)

    store = Store(Path(job["store"]), warn=lambda message: send("warning", message=message))
    case = plan(job["spec"], job["slug"]).case(store, activity)
    return run_case(case, tuple(job["spec"]["only"]), store, activity, job["skip"])


def _listen(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line))
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # samplers may have started processes of their own
    os._exit(0)


if __name__ == "__main__":
    main()
