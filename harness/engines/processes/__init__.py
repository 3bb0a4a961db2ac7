"""Engine processes: a worker process per actor, in real time on real processors.

    coordinator.py    The engine of real processes: one pinned worker per actor, real atomics, real BUSY
    lock_holders.py   Tables by which an actor that was refused finds out who holds the lock (kernels/blame.py)
    patience.py       Whether worker processes have had their chance: time that counts for each is the time that it could use
    record_seal.py    A worker's record is whole, or it is not used: a sequence number and a checksum behind its tables
    watchdog.py       Who gets nowhere: TDs in which nothing goes on, and actors that wait for ever
    worker.py         A worker: one forked process that drives one actor on one processor
"""
