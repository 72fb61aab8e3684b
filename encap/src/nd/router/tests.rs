use super::*;
use crate::samples::hex;
use crate::{MemBuffer, parse};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const A_IP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x200, 0x5eff, 0xfe00, 0x100);

// Built by scapy.
const ASKED: &str = "33330000000202000000000a86dd6000000000103afffe80000000000000000000000000000aff02000000000000000000000000000285007a1a00000000010102000000000a";
const ASKED_BY_NOBODY: &str = "33330000000202000000000a86dd6000000000083aff00000000000000000000000000000000ff02000000000000000000000000000285007bb800000000";
const SAID: &str = "33330000000100005e00010086dd6000000000403afffe8000000000000002005efffe000100ff020000000000000000000000000001860061d4404007080000000000000000010100005e00010005010000000005aa0304408000278d0000093a8000000000fd010000000000000000000000000000";

fn read(frame: &[u8]) -> Result<Option<Solicitation>, Error> {
    solicitation(frame, &parse(frame).unwrap())
}

#[test]
fn solicitations_read_right() {
    let asked = Solicitation {
        src: A_IP,
        src_mac: Some(A),
    };
    assert_eq!(read(&hex(ASKED)), Ok(Some(asked)));
    let asked = Solicitation {
        src: Ipv6Addr::UNSPECIFIED,
        src_mac: None,
    };
    assert_eq!(read(&hex(ASKED_BY_NOBODY)), Ok(Some(asked)));
    assert_eq!(read(&hex(SAID)), Ok(None));
}

#[test]
fn solicitations_that_rfc_4861_6_1_1_calls_invalid_are_refused() {
    let changed = |text: &str, at: usize, value: u8| {
        let mut frame = hex(text);
        frame[at] = value;
        let meta = parse(&frame).unwrap();
        checksum::fill_transport(&mut frame, &meta);
        frame
    };
    // Hop limit, code, an option of length zero, and one that ends beyond the message.
    for (at, value) in [(21, 254), (55, 1), (63, 0), (63, 2)] {
        let frame = changed(ASKED, at, value);
        assert_eq!(read(&frame), Err(Error::MalformedNd), "byte {at}");
    }
    // A link-layer address of nobody: the unspecified address must not have one.
    let mut frame = hex(ASKED);
    frame[22..38].fill(0);
    let meta = parse(&frame).unwrap();
    checksum::fill_transport(&mut frame, &meta);
    assert_eq!(read(&frame), Err(Error::MalformedNd));
    let mut frame = hex(ASKED);
    frame[60] ^= 1;
    assert_eq!(read(&frame), Err(Error::IcmpChecksum));
}

#[test]
fn an_advertisement_is_what_scapy_builds() {
    let prefix = Prefix {
        addr: Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0),
        len: 64,
        on_link: true,
        autonomous: false,
        valid_s: 2_592_000,
        preferred_s: 604_800,
    };
    let settings = Settings {
        managed: false,
        other_config: true,
        lifetime_s: 1800,
    };
    let sender = Sender {
        mac: MacAddr::VROUTER,
        src: ROUTER,
        to: None,
    };
    // Over what was there before.
    let mut packet = MemBuffer::from_frame(&[0xff; 200]);
    advertise(&mut packet, &sender, settings, Some(1450), &[prefix]).unwrap();
    assert_eq!(packet.bytes(), hex(SAID));

    let sender = Sender {
        to: Some((A, A_IP)),
        ..sender
    };
    advertise(&mut packet, &sender, settings, None, &[]).unwrap();
    assert_eq!(packet.bytes().len(), 78);
    assert_eq!(packet.bytes()[..6], A.0);
    assert_eq!(packet.bytes()[38..54], A_IP.octets());
    let meta = parse(packet.bytes()).unwrap();
    assert!(checksum::transport_is_right(packet.bytes(), &meta));
}

#[test]
fn no_room_is_an_error() {
    let sender = Sender {
        mac: A,
        src: ROUTER,
        to: None,
    };
    let prefix = Prefix {
        addr: A_IP,
        len: 64,
        on_link: true,
        autonomous: true,
        valid_s: 1,
        preferred_s: 1,
    };
    let mut packet = MemBuffer::from_frame(&[]);
    let refused = advertise(
        &mut packet,
        &sender,
        Settings::default(),
        None,
        &[prefix; 100],
    );
    assert!(matches!(refused, Err(Error::NoRoom { .. })));
}
