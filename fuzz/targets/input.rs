//! Bytes as a list of decisions: what a sequence of packets is made of.

/// What is left of the bytes; when they are used up, every decision is 0.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// At most so many bytes.
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many bytes as the next one says.
    pub(crate) fn string(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The first of DHCPv6 options with this code.
pub(crate) fn first_option(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [c, d, l, m, rest @ ..] = options {
        let (value, behind) = rest.split_at_checked(u16::from_be_bytes([*l, *m]).into())?;
        if u16::from_be_bytes([*c, *d]) == wanted {
            return Some(value);
        }
        options = behind;
    }
    None
}
