"""NAT, RFC 4787, 5382, 5508, 6888, 7857, 6056, 1624."""

from checklist import later, shown_by

WHY = "there is no address translation yet"


def to_come(id, source, says):
    later(id, source, says, WHY)


to_come("N1", "4787 R1, 5382 R1", "one inside address and port has one outside address and port, to any server")
to_come("N2", "4787 R2, 6888 R2", "one inside host keeps one outside address")
to_come("N3", "4787 R3", "no overloading; ports below 1024 stay below, others above")
to_come("N4", "4787 R5", "a UDP mapping works after 119 s of silence; 300 s by default")
to_come("N5", "4787 R6", "outbound packets refresh a mapping")
to_come("N6", "4787 R8, R11", "filtering is the documented one, before and under load")
to_come("N7", "4787 R9a, 5382 R8", "hairpin: the peer sees the outside address and port")
shown_by(
    "N8",
    "4787 R12, 5382 R10",
    "no ICMP message ends a mapping",
    ("dataplane/tests/translation.rs", "an_error_from_outside_is_about_what_the_machine_sent"),
    ("flowtable/tests/ageing.rs", "a_packet_that_is_only_counted_keeps_nothing"),
)
shown_by(
    "N9",
    "4787 R13",
    "an inside packet with DF that is too big: type 3 code 4 to the inside",
    ("dataplane/tests/translation.rs", "what_is_too_big_once_translated_is_told_inside"),
)
shown_by(
    "N10",
    "4787 R14",
    "fragments are translated in any order",
    ("dataplane/tests/translation.rs", "fragments_are_translated_in_any_order"),
)
to_come("N11", "5382 R2", "a simultaneous open completes")
to_come("N12", "5382 R4", "no answer to an unsolicited SYN for 6 s")
to_come("N13", "5382 R5", "established sessions live 7,440 s of silence, transitory ones 240 s")
to_come("N14", "7857 §2.2", "a matching RST is translated, and the state kept for 4 min or until data")
shown_by(
    "N15",
    "5508 R3",
    "an ICMP error with a wrong checksum, its own or of the quoted IP header, is dropped",
    ("dataplane/tests/translation.rs", "a_damaged_error_is_dropped"),
    ("encap/src/translate/tests/errors.rs", "an_error_from_outside_is_about_the_inside_packet"),
)
shown_by(
    "N16",
    "5508 R4, R5",
    "an error about a translated flow is translated inside and out, in both directions",
    ("dataplane/tests/translation.rs", "an_error_from_outside_is_about_what_the_machine_sent"),
    ("dataplane/tests/translation.rs", "an_error_from_inside_is_about_what_came_from_outside"),
    ("dataplane/tests/translation.rs", "an_error_about_no_flow_is_not_translated"),
)
to_come("N17", "5508 R7", "and about a hairpinned one")
to_come("N18", "5508 R2", "ICMP query ids are mapped whatever the target, for 60 s")
to_come("N19", "5508 R8, 6888 R11", "out of resources, new packets are refused and no mapping removed")
to_come("N20", "6888 R4", "one tenant's cap of ports is not another's")
to_come("N21", "6888 R8", "a freed UDP port stays unused for 120 s, after a crash too")
to_come("N22", "6056 §3.3, 7857 §9", "ports that must change are not consecutive")
shown_by(
    "N23",
    "1624 §3, 768",
    "all 65,536 prior checksums and a rewrite equal a full recompute; UDP 0 stays 0, a computed 0 is sent as FFFF",
    ("encap/src/translate/tests.rs", "all_prior_checksums_and_rewrites_equal_a_full_recompute"),
    ("encap/src/checksum/tests.rs", "updates_equal_a_full_recompute"),
    ("encap/src/checksum/tests.rs", "ipv6_update_equals_a_full_recompute"),
    ("encap/src/checksum/tests.rs", "udp_without_checksum_stays_so_and_a_computed_zero_is_ffff"),
)
shown_by(
    "N24",
    "6864 §5.3.1",
    "fragments of two inside hosts behind one address never share an id",
    ("dataplane/tests/translation.rs", "fragments_are_translated_in_any_order"),
)
