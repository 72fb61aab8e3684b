"""ECMP, IPFIX, benchmark method, RFC 2992, 7011, 2544, 8219, 9411."""

from checklist import later

GROUPS = "there are no groups of nexthops yet"
later("K1", "2992 §2", "1,000,000 packets of one flow take one path, in order", GROUPS)
later("K2", "2992 §2", "of 3,600 flows each path gets its weight within 15 %", GROUPS)
later("K3", "2992 §3", "with 1 of 8 nexthops gone, no flow of the other 7 moves", GROUPS)
later("J1", "7011 §3.1, §8.4", "flow records as collectors accept them, as many packets as passed", "there is no flow export yet")
METHOD = "a method of measuring, not a packet; docs/performance.md says how each figure was measured"
later("B1", "2544 §9.1, §24, §26", "64 to 1,518 bytes, trials of 60 s, loss curve, back to back, recovery, reset", METHOD)
later("B2", "8219 §7.2, §5.1.1", "500 tagged frames at least, median and worst case, larger frames", METHOD)
later("B3", "9411", "at most 0.001 % of transactions fail", METHOD)
