"""Checks that are not met, and why. The run fails when one of them passes."""

UNMET = {
    "E3": "only those that are dropped are counted; the others pass uncounted",
}
