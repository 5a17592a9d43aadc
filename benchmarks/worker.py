"""One library in a process of its own. It reads one JSON command a line and answers likewise.

    {"prepare": task}                 -> {"values": [...]}, or {"values": null} without such a job
    {"warm": 0.2, "seconds": 0.3}     -> {"seconds": of one unit of the job prepared last}
    {"warm": 0.2, "seed": 3}          -> {"points": [[seconds, accuracy], ...]} of such a job

The first line comes unasked: {"versions": {...}}, or {"missing": why}. An exception is answered
with {"error": its text}, and the next command is awaited.
"""

import json
import os
import sys


def serve(name, threads):
    """Run as the worker of the peer `name`. Nothing heavy may have been imported before."""
    hold_to(threads)
    # Whatever a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**values):
        print(json.dumps(values), file=answers)

    try:
        import peers

        peer = peers.load(name)
    except ImportError as error:
        answer(missing=str(error))
        return
    answer(versions=peer.versions())
    from jobs import make_job

    job = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "prepare" in command:
                job = None  # the last one's memory
                job = make_job(peer, command["prepare"], threads)
                answer(values=None if job is None else list(job.values))
            elif "seed" in command:
                answer(points=job.run(**command))
            else:
                answer(seconds=job.time(command["warm"], command["seconds"]))
        except Exception as error:  # one library's failure is a line in the report
            answer(error=f"{type(error).__name__}: {error}")


def hold_to(threads):
    """Let this process use only so many CPUs, where the system can; pools size themselves by it."""
    # One thread may move between CPUs; the schedulers of all systems do that well.
    if threads > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def usable_cpus():
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def environment(threads):
    """Return the environment of a worker: thread counts, and nothing that misleads a BLAS."""
    settings = dict(os.environ)
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        settings.pop(name, None)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
        settings[name] = str(threads)
    settings["JAX_PLATFORMS"] = "cpu"
    return settings
