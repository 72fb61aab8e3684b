"""NAT, RFC 4787, 5382, 5508, 6888, 7857, 6056, 1624."""

from checklist import shown_by

shown_by(
    "N1",
    "4787 R1, 5382 R1",
    "one inside address and port has one outside address and port, to any server",
    ("dataplane/tests/node/nat.rs", "an_end_is_the_same_to_everybody_and_another_end_another"),
    ("dataplane/src/sessions/bindings/tests.rs", "an_end_inside_is_one_end_outside_whatever_it_talks_to"),
)
shown_by(
    "N2",
    "4787 R2, 6888 R2",
    "one inside host keeps one outside address",
    ("dataplane/src/sessions/bindings/tests.rs", "a_host_keeps_one_address_and_hosts_spread"),
)
shown_by(
    "N3",
    "4787 R3",
    "no overloading; ports below 1024 stay below, others above",
    ("dataplane/src/sessions/ports.rs", "every_port_of_a_range_is_given_once"),
    ("dataplane/src/sessions/ports.rs", "low_ports_stay_low_and_high_ones_high"),
    ("dataplane/src/sessions/bindings/tests.rs", "many_workers_never_give_one_end_to_two"),
)
shown_by(
    "N4",
    "4787 R5",
    "a UDP mapping works after 119 s of silence; 300 s by default",
    ("dataplane/tests/node/nat.rs", "a_mapping_stays_and_is_refreshed_from_inside"),
)
shown_by(
    "N5",
    "4787 R6",
    "outbound packets refresh a mapping",
    ("dataplane/tests/node/nat.rs", "a_mapping_stays_and_is_refreshed_from_inside"),
)
shown_by(
    "N6",
    "4787 R8, R11",
    "filtering is the documented one, before and under load",
    ("dataplane/tests/node/nat.rs", "strangers_come_in_as_filtering_says"),
    ("dataplane/src/sessions/bindings/tests.rs", "whoever_may_send_is_as_configured"),
)
shown_by(
    "N7",
    "4787 R9a, 5382 R8",
    "hairpin: the peer sees the outside address and port",
    ("dataplane/tests/node/nat.rs", "machines_behind_a_pool_meet_by_its_address"),
    ("dataplane/tests/node/nat.rs", "both_may_open_at_once_whatever_is_filtered"),
)
shown_by(
    "N8",
    "4787 R12, 5382 R10",
    "no ICMP message ends a mapping",
    ("dataplane/tests/node/translation.rs", "an_error_from_outside_is_about_what_the_machine_sent"),
    ("flowtable/tests/ageing.rs", "a_packet_that_is_only_counted_keeps_nothing"),
)
shown_by(
    "N9",
    "4787 R13",
    "an inside packet with DF that is too big: type 3 code 4 to the inside",
    ("dataplane/tests/node/translation.rs", "what_is_too_big_once_translated_is_told_inside"),
)
shown_by(
    "N10",
    "4787 R14",
    "fragments are translated in any order",
    ("dataplane/tests/node/translation.rs", "fragments_are_translated_in_any_order"),
)
shown_by(
    "N11",
    "5382 R2",
    "a simultaneous open completes",
    ("dataplane/tests/node/nat.rs", "a_simultaneous_open_completes"),
)
shown_by(
    "N12",
    "5382 R4",
    "no answer to an unsolicited SYN for 6 s",
    ("dataplane/tests/node/nat.rs", "an_unsolicited_syn_is_answered_by_nothing"),
)
shown_by(
    "N13",
    "5382 R5",
    "established sessions live 7,440 s of silence, transitory ones 240 s",
    ("dataplane/tests/node/nat.rs", "connections_keep_their_translation_as_long_as_they_may_be_silent"),
)
shown_by(
    "N14",
    "7857 §2.2",
    "a matching RST is translated, and the state kept for 4 min or until data",
    ("dataplane/tests/node/nat.rs", "a_reset_passes_and_what_it_was_about_stays_a_while"),
)
shown_by(
    "N15",
    "5508 R3",
    "an ICMP error with a wrong checksum, its own or of the quoted IP header, is dropped",
    ("dataplane/tests/node/translation.rs", "a_damaged_error_is_dropped"),
    ("encap/src/translate/tests/errors.rs", "an_error_from_outside_is_about_the_inside_packet"),
)
shown_by(
    "N16",
    "5508 R4, R5",
    "an error about a translated flow is translated inside and out, in both directions",
    ("dataplane/tests/node/translation.rs", "an_error_from_outside_is_about_what_the_machine_sent"),
    ("dataplane/tests/node/translation.rs", "an_error_from_inside_is_about_what_came_from_outside"),
    ("dataplane/tests/node/translation.rs", "an_error_about_no_flow_is_not_translated"),
)
shown_by(
    "N17",
    "5508 R7",
    "and about a hairpinned one",
    ("dataplane/tests/node/hairpin.rs", "an_error_about_a_hairpinned_flow_is_translated_at_both_sides"),
)
shown_by(
    "N18",
    "5508 R2",
    "ICMP query ids are mapped whatever the target, for 60 s",
    ("dataplane/tests/node/nat.rs", "queries_are_told_apart_by_identifier"),
    ("dataplane/tests/node/nat.rs", "queries_keep_their_identifier_for_a_minute"),
)
shown_by(
    "N19",
    "5508 R8, 6888 R11",
    "out of resources, new packets are refused and no mapping removed",
    ("dataplane/tests/node/nat.rs", "a_pool_that_is_exhausted_refuses_tells_and_recovers"),
    ("dataplane/src/sessions/bindings/tests.rs", "exhaustion_refuses_the_new_and_keeps_the_old"),
)
shown_by(
    "N20",
    "6888 R4",
    "one tenant's cap of ports is not another's",
    ("dataplane/tests/node/nat.rs", "a_vif_has_no_more_ports_than_its_share"),
)
shown_by(
    "N21",
    "6888 R8",
    "a freed UDP port stays unused for 120 s, after a crash too",
    ("dataplane/src/sessions/bindings/tests.rs", "a_binding_outlives_its_flows_by_its_time_then_rests_then_is_free"),
    ("dataplane/tests/node/leftovers.rs", "ports_that_were_given_out_before_the_start_rest"),
    ("tests/tests/crash.rs", "udp_ports_rest_after_a_crash"),
    note="but for those given out in the last second before it",
)
shown_by(
    "N22",
    "6056 §3.3, 7857 §9",
    "ports that must change are not consecutive",
    ("dataplane/src/sessions/ports.rs", "ports_do_not_come_in_runs"),
)
shown_by(
    "N23",
    "1624 §3, 768",
    "all 65,536 prior checksums and a rewrite equal a full recompute; UDP 0 stays 0, a computed 0 is sent as FFFF",
    ("encap/src/checksum/tests.rs", "updates_equal_a_full_recompute"),
    ("encap/src/checksum/tests.rs", "ipv6_update_equals_a_full_recompute"),
    ("encap/src/checksum/tests.rs", "udp_without_checksum_stays_so_and_a_computed_zero_is_ffff"),
)
shown_by(
    "N24",
    "6864 §5.3.1",
    "fragments of two inside hosts behind one address never share an id",
    ("dataplane/tests/node/translation.rs", "fragments_are_translated_in_any_order"),
)
