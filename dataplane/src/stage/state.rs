//! Which state a packet moves its flow to, and with it which timeout: TCP by its
//! flags (RFC 9293 §3.3.2, seen from the middle), UDP by whether it was answered.
//!
//! What nobody has answered stays half open, whatever is sent: such flows are
//! what a flood is made of, and the first to go. So TCP that is picked up in the
//! middle, as after a restart, is established once its other side has spoken,
//! and a RST to a SYN does not make it live any longer.
//!
//! Sequence numbers are looked at for a RST that would end a connection, by stage `segment`. A forged
//! FIN shortens a flow's timeout, and ends no connection.

use encap::{Fragment, Meta, protocol};
use flowtable::Class;

/// Where a packet takes its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It changes nothing.
    Stay,
    /// To this state.
    To(Class),
    /// It opens a connection of its own, in the other direction than the one
    /// that ended: to be decided like any first packet.
    Anew,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The state of a flow after its first packet.
pub fn first(meta: &Meta) -> Class {
    match meta.protocol {
        protocol::TCP => Class::SynSent,
        protocol::UDP => Class::Udp,
        protocol::ICMP | protocol::ICMPV6 => Class::Icmp,
        _ => Class::Other,
    }
}

/// Whether a TCP or UDP packet surely changes nothing about its flow, as nearly all do: where this
/// is so, [`next`] says [`Step::Stay`].
#[inline]
pub fn is_settled(class: Class, protocol: u8, tcp_flags: u8, is_reply: bool) -> bool {
    match protocol {
        protocol::TCP => class == Class::Established && tcp_flags & (SYN | FIN | RST) == 0,
        _ => class == Class::UdpReplied || !is_reply,
    }
}

/// Where a packet takes a flow that is in state `class`.
#[inline]
pub fn next(class: Class, meta: &Meta, is_reply: bool) -> Step {
    match meta.protocol {
        // Later fragments have no flags.
        protocol::TCP if meta.fragment != Fragment::Later => tcp(class, meta.l4_flags, is_reply),
        protocol::UDP if is_reply && class == Class::Udp => Step::To(Class::UdpReplied),
        _ => Step::Stay,
    }
}

#[inline]
fn tcp(class: Class, flags: u8, is_reply: bool) -> Step {
    let has = |flag: u8| flags & flag != 0;
    if class == Class::Established && !has(SYN | FIN | RST) {
        return Step::Stay; // nearly every packet there is
    }
    match class {
        Class::SynSent | Class::SynReceived if has(RST) => Step::Stay,
        Class::SynSent if is_reply && has(SYN) => Step::To(Class::SynReceived),
        // Nobody saw a handshake, and both sides speak: it is older than the flow.
        Class::SynSent if is_reply && has(ACK) => spoken(flags, is_reply),
        Class::SynReceived if !is_reply && has(ACK) && !has(SYN) => spoken(flags, is_reply),
        Class::Established | Class::FinForward | Class::FinReverse if has(RST) => {
            Step::To(Class::Closed)
        }
        Class::Established if has(FIN) => spoken(flags, is_reply),
        Class::FinForward if is_reply && has(FIN) => Step::To(Class::Closed),
        Class::FinReverse if !is_reply && has(FIN) => Step::To(Class::Closed),
        // The same ports again (RFC 9293 §3.6.1), by either side.
        Class::Closed if has(SYN) && !has(ACK | RST) => match is_reply {
            false => Step::To(Class::SynSent),
            true => Step::Anew,
        },
        _ => Step::Stay,
    }
}

/// Established, unless the packet that says so is the first half of the end.
fn spoken(flags: u8, is_reply: bool) -> Step {
    Step::To(match (flags & FIN != 0, is_reply) {
        (false, _) => Class::Established,
        (true, false) => Class::FinForward,
        (true, true) => Class::FinReverse,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a flow through packets, `>` forward and `<` back, by their flags.
    #[track_caller]
    fn after(packets: &str) -> Class {
        let mut class = Class::SynSent;
        for packet in packets.split_whitespace() {
            let flags = packet[1..].bytes().fold(0, |flags, letter| {
                flags
                    | match letter {
                        b'S' => SYN,
                        b'A' => ACK,
                        b'F' => FIN,
                        b'R' => RST,
                        _ => panic!("`{packet}` has another flag"),
                    }
            });
            match tcp(class, flags, packet.starts_with('<')) {
                Step::Stay => {}
                Step::To(next) => class = next,
                Step::Anew => panic!("`{packet}` opens another connection"),
            }
        }
        class
    }

    #[test]
    fn a_handshake_opens_in_three_steps() {
        assert_eq!(after(">S"), Class::SynSent);
        assert_eq!(after(">S <SA"), Class::SynReceived);
        assert_eq!(after(">S <SA >A"), Class::Established);
        assert_eq!(after(">S <SA >A >A <A"), Class::Established);
        // both at once
        assert_eq!(after(">S <S >SA <SA >A"), Class::Established);
    }

    #[test]
    fn what_one_side_sends_alone_stays_half_open() {
        for alone in [">S >S >S", ">S >A >A", ">A >A", ">FA", ">R", ">S <SA <SA"] {
            assert!(after(alone).is_half_open(), "{alone}");
        }
    }

    #[test]
    fn a_refused_connection_stays_half_open() {
        assert_eq!(after(">S <RA"), Class::SynSent);
        assert_eq!(after(">S <SA >R"), Class::SynReceived);
    }

    #[test]
    fn a_connection_in_the_middle_is_established_by_its_answer() {
        assert_eq!(after(">A <A"), Class::Established);
        assert_eq!(after(">A <FA"), Class::FinReverse);
    }

    #[test]
    fn both_must_end_it_or_one_reset_it() {
        let open = ">S <SA >A";
        assert_eq!(after(&format!("{open} >FA")), Class::FinForward);
        assert_eq!(after(&format!("{open} <FA >A")), Class::FinReverse);
        assert_eq!(after(&format!("{open} >FA >FA <A")), Class::FinForward);
        assert_eq!(after(&format!("{open} >FA <FA >A")), Class::Closed);
        assert_eq!(after(&format!("{open} <FA >FA <A")), Class::Closed);
        assert_eq!(after(&format!("{open} <R")), Class::Closed);
        assert_eq!(after(&format!("{open} >FA >RA")), Class::Closed);
        assert_eq!(after(">S <SA >FA"), Class::FinForward);
    }

    #[test]
    fn ports_are_used_again() {
        assert_eq!(after(">S <SA >A <R >S"), Class::SynSent);
        assert_eq!(after(">S <SA >A <R >A <A >FA"), Class::Closed);
        // the other side opens: another flow, and another decision
        assert_eq!(tcp(Class::Closed, SYN, true), Step::Anew);
        assert_eq!(tcp(Class::Established, SYN, true), Step::Stay);
    }
}
