"""Tests of harness/protocol/litmus."""
