//! Capture filters: pcap expressions (`man pcap-filter`), compiled here by libpcap and run as
//! bytecode by the daemon, which checks them.
//!
//! libpcap comes with DPDK. A vrctl built without either takes no filters.

use ctl::proto::BpfInstruction;

use crate::Failure;

/// The program of an expression for Ethernet frames.
#[cfg(feature = "dpdk")]
pub(crate) fn compile(expression: &str) -> Result<Vec<BpfInstruction>, Failure> {
    let refused = |error: pcap::Error| {
        let said = error.to_string();
        let said = said.strip_prefix("libpcap error: ").unwrap_or(&said);
        Failure::CouldNotAsk(format!(
            "filter `{expression}`: {said}; see `man pcap-filter`"
        ))
    };
    let ethernet = pcap::Capture::dead(pcap::Linktype::ETHERNET).map_err(refused)?;
    let program = ethernet.compile(expression, true).map_err(refused)?;
    let instructions = program.get_instructions().iter();
    // The library shows the fields of an instruction only as text.
    instructions
        .map(|instruction| {
            let text = instruction.to_string();
            parse(&text).ok_or_else(|| {
                Failure::CouldNotAsk(format!(
                    "filter: libpcap wrote `{text}`, which is no instruction"
                ))
            })
        })
        .collect()
}

#[cfg(not(feature = "dpdk"))]
pub(crate) fn compile(_expression: &str) -> Result<Vec<BpfInstruction>, Failure> {
    Err(Failure::CouldNotAsk(
        "filter: this vrctl was built without libpcap (cargo feature `dpdk`); filter what it \
         writes instead, e.g. with `tshark -r - -Y …`"
            .into(),
    ))
}

/// `40 0 0 12`: code, jumps, operand.
#[cfg(feature = "dpdk")]
fn parse(text: &str) -> Option<BpfInstruction> {
    let mut numbers = text.split(' ').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(BpfInstruction {
        code: next()?,
        jump_true: next()?,
        jump_false: next()?,
        operand: next()?,
    })
}

#[cfg(all(test, feature = "dpdk"))]
mod tests {
    use super::*;
    use dataplane::observe::filter::{Instruction, Program};

    fn program(expression: &str) -> Program {
        let Ok(compiled) = compile(expression) else {
            panic!("libpcap compiles `{expression}`");
        };
        let instructions = compiled.iter().map(|it| Instruction {
            code: it.code as u16,
            jump_true: it.jump_true as u8,
            jump_false: it.jump_false as u8,
            operand: it.operand,
        });
        Program::new(instructions.collect()).expect("what libpcap made")
    }

    #[test]
    fn expressions_select_what_they_say() {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[23] = 6;
        frame[26..34].copy_from_slice(&[10, 1, 0, 5, 10, 1, 0, 9]);
        frame[36..38].copy_from_slice(&80_u16.to_be_bytes());
        frame[47] = 2;
        let selects = |expression: &str| program(expression).accepts(&frame, frame.len());
        for yes in [
            "ip",
            "tcp port 80",
            "host 10.1.0.9",
            "src net 10.1.0.0/24 and not udp",
            "tcp[tcpflags] & tcp-syn != 0",
            "len <= 60",
        ] {
            assert!(selects(yes), "{yes}");
        }
        for no in [
            "ip6",
            "tcp port 443",
            "vlan",
            "arp or icmp",
            "portrange 90-99",
            "greater 61",
        ] {
            assert!(!selects(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_in_a_sentence() {
        let Err(Failure::CouldNotAsk(said)) = compile("tcp prot 80") else {
            panic!("it is none");
        };
        assert!(said.starts_with("filter `tcp prot 80`: "), "{said}");
    }
}
