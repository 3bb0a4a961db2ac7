"""Tests: words and locks first, then calls, interleavings, flows, and whole runs.

    test_words, test_locks          bit by bit, against tests/vectors and plain statements of each rule
    test_seamcalls                  lock order, statuses and writes of every row; allowed states
    test_interleavings              two or three actors moved micro-op by micro-op (stage.py)
    test_seamcall_abi, test_answer  what an answer means, both decodings, errno
    test_spelling, test_decode      answers as people paste them, read; the command
    test_statuses, test_answers     every status and operand id; who gives which, read off the rows
    test_faults                     SEAMCALLs that do not reach the module, entropy, machine checks
    test_epoch, test_stepping       TLB tracking, zero-step
    test_fence, test_compiled_code  what the compiled code may not contain, and must
    test_pipeline                   the short way through Numba's compiler
    test_flows                      KVM's and the guest's programs
    test_blame                      whose fault a BUSY was: on a stage, and by stopping a worker
    test_validity, test_doctor      when not to believe a run, each reason provoked; the machine beforehand
    test_histogram, test_open_loop  histograms added up and exported; arrivals that do not wait
    test_progress                   the line that says how far a run is
    test_config, test_cli           what a person can get wrong, and what is printed
    test_processes                  real runs, broken on purpose, killed, interrupted
    test_statistics, test_compare   what may be said of a few blocks (results made by hand: made.py)
    test_blocks                     sessions, budgets, interruptions, one measurement at a time
    test_nights, test_nightly       change points on simulated histories (nights.py); nights on a stage
    test_page                       the report page
    test_wheel, test_closed_forms   virtual time against the plainest queue, and against theory
    test_simulate                   virtual time: repeatable, exact, priced
    test_sweep, test_validate       sweeps, calibration, and the two engines side by side
    bench/                          `make bench`; asserts nothing

Nothing here asserts on seconds, or on what a run of real processes gets done in some: a busy machine is no
failure.  Who needs something to have happened asks for another run until it has (tries.py).
"""
