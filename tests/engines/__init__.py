"""Tests of harness/engines/."""
