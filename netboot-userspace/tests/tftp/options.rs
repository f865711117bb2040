//! Options as clients send them, good and bad: each has its one answer.

use crate::site::{Client, ENGINES, rrq, site};

/// What follows the mode, and the options that come back; none: DATA 1 at once.
const OPTIONS: &[(&[u8], &[u8])] = &[
    (b"blksize\x000\0", b""),
    (b"blksize\x007\0", b""),
    (b"blksize\x008\0", b"blksize\x008\0"),
    (b"blksize\x00512\0", b"blksize\x00512\0"),
    (b"blksize\x001469\0", b"blksize\x001468\0"),
    (b"blksize\x0065464\0", b"blksize\x001468\0"),
    (b"blksize\x0065465\0", b""),
    (b"blksize\0-1\0", b""),
    (b"blksize\0+512\0", b""),
    (b"blksize\x001e3\0", b""),
    (b"blksize\x0099999999999\0", b""),
    (b"blksize\x0018446744073709552128\0", b""),
    (b"blksize\x00512 \0", b""),
    (b"blksize\0 512\0", b""),
    (b"blksize\0\0", b""),
    (b"blksize\x000512\0", b"blksize\x00512\0"),
    (b"BLKSIZE\x00512\0", b"blksize\x00512\0"),
    (b"windowsize\x000\0", b""),
    (b"windowsize\x001\0", b"windowsize\x001\0"),
    (b"windowsize\x0065535\0", b"windowsize\x0016\0"),
    (b"windowsize\x0065536\0", b""),
    (b"tsize\x000\0", b"tsize\x00700\0"),
    (b"tsize\x0012345\0", b"tsize\x00700\0"),
    (b"tsize\0-1\0", b""),
    (b"timeout\x000\0", b""),
    (b"timeout\x001\0", b"timeout\x001\0"),
    (b"timeout\x0016\0", b"timeout\x0016\0"),
    (b"timeout\x00255\0", b""), // longer than we would wait: left out (RFC 2349)
    (b"timeout\x00256\0", b""),
    (b"utimeout\x00200000\0", b""),
    (b"multicast\0\0", b""),
    (b"rollover\x000\0", b""),
    (b"blksize\x00600\0blksize\x00700\0", b"blksize\x00600\0"),
    (b"blksize\x005\0blksize\x00700\0", b"blksize\x00700\0"),
    (b"blksize", b""),
    (b"blksize\0", b""),
    (b"blksize\x00512", b""),
    (b"tsize\x000\0blksize\0", b"tsize\x00700\0"),
    (b"tsize\x000\0\0\0\0", b"tsize\x00700\0"),
    (b"x\0y\0tsize\x000\0z\0", b"tsize\x00700\0"),
];

#[test]
fn each_option_good_or_bad_has_its_one_answer() {
    for engine in ENGINES {
        let site = site(engine);
        let file = site.put("file", 700);
        for (asked, granted) in OPTIONS {
            let (answer, _) = Client::new(&site).ask(&rrq(b"file", asked));
            let want = match granted.len() {
                0 => [b"\0\x03\0\x01", &file[..512]].concat(),
                _ => [b"\0\x06", *granted].concat(),
            };
            assert!(answer == want, "{}: {answer:?}", String::from_utf8_lossy(asked));
        }
        assert_eq!(site.server.stats().failed, 0);
    }
}
