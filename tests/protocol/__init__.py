"""Tests of harness/protocol/."""
