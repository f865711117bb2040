use std::net::SocketAddrV4;

use crate::frames::*;

const STATIONS: Stations = Stations { own: [2, 0, 0, 0, 0, 9], other: [2, 0, 0, 0, 0, 1] };

fn ends() -> [SocketAddrV4; 2] {
    [SocketAddrV4::new([10, 65, 1, 2].into(), 2070), SocketAddrV4::new([10, 64, 0, 1].into(), 69)]
}

#[test]
fn what_was_written_is_read_and_sound() {
    let mut frame = vec![0xa5; 99];
    for payload in [&b""[..], b"x", b"a longer one"] {
        write(&mut frame, &STATIONS, ends(), |frame| frame.extend_from_slice(payload));
        let [from, to] = ends();
        assert_eq!(read(&frame), Some(Datagram { from, to, payload }));
        assert!(is_sound(&frame));
        // A frame may be padded.
        frame.resize(frame.len().max(60), 0);
        assert_eq!(read(&frame), Some(Datagram { from, to, payload }));
    }
}

#[test]
fn a_flipped_bit_is_heard() {
    let mut frame = Vec::new();
    write(&mut frame, &STATIONS, ends(), |frame| frame.extend_from_slice(b"payload"));
    for at in 14..frame.len() {
        frame[at] ^= 4;
        assert!(!is_sound(&frame), "byte {at}");
        frame[at] ^= 4;
    }
}

#[test]
fn frames_that_are_cut_short_hold_nothing() {
    let mut frame = Vec::new();
    write(&mut frame, &STATIONS, ends(), |frame| frame.extend_from_slice(b"payload"));
    for length in 0..frame.len() {
        assert_eq!(read(&frame[..length]), None, "{length}");
        assert!(!is_sound(&frame[..length]));
    }
}
