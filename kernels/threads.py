"""How threads that run the same compiled call share its work, without numba's threading.

The threads are Python threads, and compiled code releases the GIL. A waiting thread spins, since a
step of a small network is shorter than a switch of threads. After a while it yields its core to
other threads, so that two processes on the same cores do not slow each other down.

A call goes through phases. The work of a phase lies in shares, one for each thread, and a share in
blocks. A thread takes the blocks of its own share first, the same ones in each step, which are in
the cache of its core. Then it takes what is left of the shares of others. A phase ends when all of
its blocks are done: a thread that has lost its core between two blocks keeps nobody waiting. It
finds no block in the phases that it has missed, and goes on with the one that is under way.

A thread that loses its core within a block does keep the others waiting. So where other processes
want the cores too, a thread yields its core between two blocks before the system takes it away.
Beside one busy process on two cores a step of 784-512-512-10 took 1.6 times as long as alone, where
it took 1.8 times with fixed shares in the same rounds (on a machine with much other work).
"""

from typing import NamedTuple

from .atomics import fetch_add, read, relax, replace, write, yield_core
from .clock import core_time, wall_time
from .codes import MOST_SHARES, BarrierPlace
from .jit import inner
from .pointers import Pointer, get, put

# Turns of a waiting loop before the thread yields its core, or helps with the shares of others.
_SPINS = 4000

# Nanoseconds. Systems let a thread run for 3 or 4 milliseconds while another one waits for its
# core. To yield much more often costs a part of the time that a thread is entitled to (Linux 6.18).
_PERIOD = 2_000_000  # from one look at the clocks to the next
_LOSS = 500_000  # a thread that had no core for so long has lost it to another
_MEMORY = 100_000_000  # how long this counts

_LINE = 8  # places of a cache line
_MOST_BLOCKS = 2**24  # of a share


class Phase(NamedTuple):
    """A phase of a call, as one of its threads sees it."""

    gate: Pointer  # to the barrier
    number: int  # counts on from one call to the next
    n_blocks: int  # of all shares
    thread: int
    threads: int


@inner
def wait(barrier, threads):
    """Return True when `threads` threads have called this with the same `barrier` (a pointer).

    Return False if `barrier[LEAVE]` is set: then another thread will not call it.
    """
    if threads == 1:
        return True
    generation = read(barrier + BarrierPlace.GENERATION)
    if fetch_add(barrier, 1) == threads - 1:
        write(barrier, 0)
        write(barrier + BarrierPlace.GENERATION, generation + 1)
        return True
    return wait_while(barrier, BarrierPlace.GENERATION, generation)


@inner
def wait_while(barrier, place, value):
    """Wait while `value` stands at a place of the barrier; return False if threads are to leave."""
    spins = 0
    while read(barrier + place) == value:
        spins += 1
        if spins < _SPINS:
            relax()
        elif read(barrier + BarrierPlace.LEAVE) != 0:
            return False
        else:
            yield_core()
    return True


@inner
def share(count, unit, thread, threads):
    """Return this thread's part [begin, end) of `count`, in whole units."""
    units = (count + unit - 1) // unit
    begin = units * thread // threads * unit
    end = units * (thread + 1) // threads * unit
    return min(begin, count), min(end, count)


@inner
def count_shares(threads):
    """Return into how many shares the work is divided; further threads help with these."""
    return min(threads, MOST_SHARES)


@inner
def next_share(phase, turn):
    """Return the share from which a thread takes blocks in its turn `turn`: its own in turn 0.

    Threads that have their cores for themselves end at about the same time. So it waits a little
    before the next ones: a block of another share has to be fetched from another core's cache.
    """
    if phase.threads == 1:
        return 0
    if turn == 1 and not is_crowded(phase.gate):
        spins = 0
        while spins < _SPINS and read(phase.gate + BarrierPlace.PHASE) == phase.number:
            spins += 1
            relax()
    return (phase.thread + turn) % count_shares(phase.threads)


@inner
def take(phase, counter, before):
    """Return the next block of a share that no thread has taken in this phase, and take it.

    The numbers go on behind the last block, where the caller is to stop; in a phase that is over
    the number is _MOST_BLOCKS. `counter`: which of the barrier, a share. `before`: the block that
    this thread took there before, -1 at first.

    A counter holds the number of the last phase that has used it, and the blocks that are taken in
    that phase: so none has to be reset.
    """
    if phase.threads == 1:
        return before + 1
    rest(phase.gate, phase.thread)
    place = phase.gate + (BarrierPlace.COUNTERS + counter * _LINE)
    first = phase.number * _MOST_BLOCKS
    while True:
        seen = read(place)
        if seen >= first + _MOST_BLOCKS:
            return _MOST_BLOCKS
        block = max(seen, first) - first
        if replace(place, seen, first + block + 1):
            return block


@inner
def complete(phase):
    """Count a block as done; return whether it is the last one of the phase.

    The thread that gets True has to call `open_next`.
    """
    if phase.threads == 1:
        return True
    if fetch_add(phase.gate + BarrierPlace.DONE, 1) < phase.n_blocks - 1:
        return False
    write(phase.gate + BarrierPlace.DONE, 0)
    return True


@inner
def open_next(phase, count):
    """Open the next phase, or with a `count` of 2 the one behind it, to all threads."""
    write(phase.gate + BarrierPlace.PHASE, phase.number + count)


@inner
def wait_for_next(phase):
    """Return True when the phase is over; return False if threads are to leave."""
    return wait_while(phase.gate, BarrierPlace.PHASE, phase.number)


@inner
def phase_number(barrier):
    """Return the number of the phase that is open."""
    return read(barrier + BarrierPlace.PHASE)


@inner
def mark(phase, place):
    """Note at a place of the barrier that something has happened in this phase."""
    write(phase.gate + place, phase.number + 1)


@inner
def is_marked(phase, place):
    """Return whether `mark` was the last time called in this phase."""
    return read(phase.gate + place) == phase.number + 1


@inner
def start_clocks(barrier, thread):
    """Note the times from which `rest` counts; called when a thread begins its part of a call."""
    own = barrier + (BarrierPlace.CLOCKS + thread % MOST_SHARES * _LINE)
    put(own, wall_time())
    put(own + 1, core_time())


@inner
def rest(barrier, thread):
    """Yield the core, if another process is likely to take it away soon; called between blocks.

    That is so where a thread has lost its core a short while ago, and this one runs for `_PERIOD`.
    """
    own = barrier + (BarrierPlace.CLOCKS + thread % MOST_SHARES * _LINE)
    now, last = wall_time(), get(own)
    if now - last < _PERIOD:
        return
    crowded = barrier + BarrierPlace.CROWDED_UNTIL
    if (now - last) - (core_time() - get(own + 1)) > _LOSS:
        write(crowded, now + _MEMORY)
    elif now < read(crowded):
        yield_core()
        back = wall_time()
        if back - now > _LOSS:
            write(crowded, back + _MEMORY)
    start_clocks(barrier, thread)


@inner
def note_crowd(barrier, threads):
    """Decide for the next step whether other processes want the cores too: see `is_crowded`."""
    if threads > 1:
        crowded = wall_time() < read(barrier + BarrierPlace.CROWDED_UNTIL)
        write(barrier + BarrierPlace.CROWDED, 1 if crowded else 0)


@inner
def is_crowded(barrier):
    """Return whether other processes want the cores too, which is the same for all of a step.

    Then the rows phase has small blocks, and a thread helps with other shares at once.
    """
    return read(barrier + BarrierPlace.CROWDED) != 0
