"""Engine thread_modular: which answers can any run of a plan give at all?  More than it gives, never less.

    words.py     What is known of each word: followed, collected, private to an actor, or unknown
    actor.py     One actor: from one row at which others matter to the next, by `step` on every word it may find
    views.py     What the followed words may be at once
    closure.py   All actors: what each may find when the others have done what they can do
    bound.py     The answers and entries that any run of a config can come to

An actor is looked at alone.  What it may find in memory is what the others can have left there; what
they can leave follows from where they can stand; and so on until nothing is new (Flanagan and Qadeer,
Thread-Modular Model Checking, SPIN 2003).  How many vCPUs and hosts there are does not matter then,
nor how long a run is.  What is taken for granted, because each run checks it of itself, is that KVM's
and the module's exclusive locks have one holder: two actors that hold the same one never stand at once
(Mine, Static Analysis of Run-Time Errors in Embedded Real-Time C Programs, LMCS 2012, partitions by
locks held in the same way).

All pages are alike, so one page is followed and the other pages are others' business.
"""
