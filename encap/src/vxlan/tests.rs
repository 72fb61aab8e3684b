use super::*;

// RFC 7348 §5; the bytes are those of VNI 5000.
#[test]
fn header_lies_where_rfc_7348_puts_it() {
    let mut bytes = [0xff; LEN];
    Header::new(&mut bytes).set(Vni::new(5000).unwrap());
    assert_eq!(bytes, [0x08, 0, 0, 0, 0x00, 0x13, 0x88, 0]);
    let (header, rest) = Header::split(&bytes).unwrap();
    assert!(rest.is_empty());
    assert_eq!((header.flags(), header.vni()), (0x08, Vni::new(5000)));
}

#[test]
fn short_buffer_is_refused() {
    let refused = Error::Truncated { need: 8, have: 7 };
    assert_eq!(Header::split(&[0; 7]).err(), Some(refused));
    assert_eq!(Header::split_mut(&mut [0; 7]).err(), Some(refused));
}
