"""TLB tracking: the word, the counts, and what "tracked" means."""

from hypothesis import given, strategies as st

from kernels import epoch
from kernels.compiling import for_python

tracked = for_python(epoch.is_tracked)
previous_busy = for_python(epoch.previous_epoch_busy)
epochs, counts = st.integers(1, 1 << 30), st.integers(0, 0xFFFF)


def test_the_word_is_epoch_then_odd_then_even_count():
    assert epoch.epoch_word(7, even=2, odd=1) == 7 << 32 | 1 << 16 | 2


@given(epochs, counts, counts, st.integers(0, 1 << 30))
def test_tracked_is_the_modules_rule(now, even, odd, bepoch):
    word = epoch.epoch_word(now, even, odd)
    expected = bepoch < now - 1 or bepoch == now - 1 and (odd if bepoch % 2 else even) == 0
    assert bool(tracked(word, bepoch)) == expected


@given(epochs, counts, counts)
def test_a_page_blocked_in_the_current_epoch_is_never_tracked(now, even, odd):
    assert not tracked(epoch.epoch_word(now, even, odd), now)


@given(epochs, counts, counts)
def test_track_fails_exactly_while_a_vcpu_of_the_other_parity_runs(now, even, odd):
    assert bool(previous_busy(epoch.epoch_word(now, even, odd))) == ((even if now % 2 else odd) != 0)
