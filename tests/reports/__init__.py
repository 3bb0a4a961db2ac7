"""Tests of harness/reports/."""
