"""Checks that are not met, and why. The run fails when one of them passes."""

UNMET = {
    "E3": "only those that are dropped are counted; the others pass uncounted",
    "P8": "tunnel packets cannot be fragmented yet, so none has an id to repeat",
    "K1": "there are no groups of nexthops yet",
    "K2": "there are no groups of nexthops yet",
    "K3": "there are no groups of nexthops yet",
}
