//! Where one record ends and the next begins (RFC 5246 section 6.2, RFC 8446 section 5.1): of a connection that the kernel is to go on
//! with, nothing may have been read beyond a record that was read whole.

/// Bytes of a record's head: its type, a version, and the length of what follows.
const HEAD: usize = 5;

/// How far the record that is being read is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    head: [u8; HEAD],
    /// Bytes of its head.
    read: usize,
    /// Bytes that follow its head, once that was read.
    left: usize,
}

impl Records {
    /// How much may be read of a connection without reading of two records, or beyond a head whose length is not known yet.
    pub(super) fn most(&self) -> usize {
        if self.left > 0 { self.left } else { HEAD - self.read }
    }

    /// No more than that was read.
    pub(super) fn took(&mut self, bytes: &[u8]) {
        if self.left > 0 {
            self.left = self.left.saturating_sub(bytes.len());
        } else {
            let head = self.head.iter_mut().skip(self.read).zip(bytes);
            self.read += head.map(|(into, byte)| *into = *byte).count();
        }
        if self.read == HEAD {
            let [.., high, low] = self.head;
            (self.read, self.left) = (0, usize::from(u16::from_be_bytes([high, low])));
        }
    }

    /// Whether all records of which there was anything were read whole.
    pub(super) fn is_between(&self) -> bool {
        (self.read, self.left) == (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads these bytes, of which so many are there at once.
    fn reads(bytes: &[u8], at_once: usize) -> Vec<(usize, bool)> {
        let (mut records, mut at, mut steps) = (Records::default(), 0, Vec::new());
        while at < bytes.len() {
            let count = records.most().min(at_once).min(bytes.len() - at);
            records.took(&bytes[at..at + count]);
            at += count;
            steps.push((count, records.is_between()));
        }
        steps
    }

    #[test]
    fn nothing_is_read_beyond_a_record() {
        let two = [&[22, 3, 1, 0, 2, 7, 7][..], &[23, 3, 3, 0, 1, 9], &[23, 3, 3, 0, 0], &[23, 3]].concat();
        let whole = [(5, false), (2, true), (5, false), (1, true), (5, true), (2, false)];
        assert_eq!(reads(&two, usize::MAX), whole);
        let single = reads(&two, 1);
        let ends: Vec<usize> = (1..).zip(&single).filter(|(_, (_, end))| *end).map(|(at, _)| at).collect();
        assert_eq!((single.len(), ends), (20, vec![7, 13, 18]));
    }

    #[test]
    fn a_record_is_as_long_as_its_head_says() {
        let mut records = Records::default();
        records.took(&[23, 3, 3, 0x41, 0x00]);
        assert_eq!(records.most(), 0x4100);
        records.took(&[0; 0x40ff]);
        assert_eq!((records.most(), records.is_between()), (1, false));
    }
}
