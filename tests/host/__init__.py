"""Tests of harness/host/."""
