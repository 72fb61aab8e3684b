"""Checks that are not met, and why. The run fails when one of them passes."""

UNMET = {}
