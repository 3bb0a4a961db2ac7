"""Tests of harness/commands/."""
