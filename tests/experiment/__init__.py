"""Tests of harness/experiment/."""
