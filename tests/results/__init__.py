"""Tests of harness/results/."""
