"""TLB tracking: the word, the counts, and what "tracked" means."""

from hypothesis import example, given, strategies as st

from kernels import epoch
from kernels.compiling import for_python

tracked = for_python(epoch.is_tracked)
previous_busy = for_python(epoch.previous_epoch_busy)
epochs = st.integers(2, 1 << 30)
# Counts are few or none in nearly every run, and what they decide is whether they are none.
counts = st.sampled_from((0, 0, 1, 2, 0xFFFF)) | st.integers(0, 0xFFFF)
# How long ago a page was blocked, in epochs: the rule has its edges at 0, 1 and 2.
ages = st.integers(-1, 3) | st.integers(0, 1 << 30)


def test_the_word_is_epoch_then_odd_then_even_count():
    assert epoch.epoch_word(7, even=2, odd=1) == 7 << 32 | 1 << 16 | 2


@given(epochs, counts, counts, ages)
@example(8, 0, 0, 1).via("the epoch before, nobody of it is left")
@example(8, 1, 0, 1).via("... and one of this epoch runs")
@example(8, 0, 1, 1).via("... one of it is left")
@example(9, 1, 0, 1).via("the same in an odd epoch")
@example(9, 0, 1, 1)
@example(8, 0, 1, 2).via("two epochs before: nobody can be left")
@example(8, 0, 0, 0).via("blocked in this epoch")
@example(8, 0, 0, -1)
def test_tracked_is_the_modules_rule(now, even, odd, age):
    bepoch = max(0, now - age)
    word = epoch.epoch_word(now, even, odd)
    expected = bepoch < now - 1 or bepoch == now - 1 and (odd if bepoch % 2 else even) == 0
    assert bool(tracked(word, bepoch)) == expected


@given(epochs, counts, counts)
def test_a_page_blocked_in_the_current_epoch_is_never_tracked(now, even, odd):
    assert not tracked(epoch.epoch_word(now, even, odd), now)


@given(epochs, counts, counts)
@example(8, 3, 0).via("only this epoch's vCPUs run")
@example(8, 0, 3).via("only the other epoch's")
@example(9, 3, 0)
@example(9, 0, 3)
def test_track_fails_exactly_while_a_vcpu_of_the_other_parity_runs(now, even, odd):
    assert bool(previous_busy(epoch.epoch_word(now, even, odd))) == ((even if now % 2 else odd) != 0)
