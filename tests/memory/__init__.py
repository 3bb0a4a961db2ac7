"""Tests of harness/memory/."""
