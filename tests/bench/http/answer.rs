//! One response: what it must be, and whether it is. Pure: bytes go in, the body's bytes come out.

/// Heads are shorter; what is longer is none.
const LONGEST_HEAD: usize = 16 << 10;
const MOST_FIELDS: usize = 64;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    status: u16,
    pub(crate) first: u64,
    pub(crate) length: u64,
    size: u64,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// The connection ended before the response did.
    Closed,
    /// Not a head that HTTP knows.
    Head,
    /// Another status than 200, or 206 of a range.
    Status(u16),
    /// Not the length that was asked for, or none.
    Length,
    /// A `Content-Range` of something else.
    Range,
    /// Other bytes than the file's.
    Content,
    /// More bytes than the response has.
    Surplus,
    /// Not done when the run was over.
    Deadline,
}

/// A response that arrives.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What there is of the head, while it is not whole.
    head: Vec<u8>,
    /// Of the body, once the head is whole.
    left: Option<u64>,
    closes: bool,
}

impl Wanted {
    /// All of a file.
    pub(crate) fn whole(size: u64) -> Self {
        Self { status: 200, first: 0, length: size, size }
    }

    /// Some bytes of it (RFC 9110 section 14).
    pub(crate) fn range(first: u64, length: u64, size: u64) -> Self {
        Self { status: 206, first, length, size }
    }

    /// As `Range` and `Content-Range` have it.
    pub(crate) fn ends(&self) -> String {
        format!("{}-{}", self.first, self.first + self.length - 1)
    }
}

impl Answer {
    /// The next bytes of the connection; those of the body are given back.
    pub(crate) fn take<'a>(&mut self, wanted: &Wanted, bytes: &'a [u8]) -> Result<&'a [u8], Failure> {
        let body = if self.left.is_some() { bytes } else { self.read_head(wanted, bytes)? };
        self.skip(body.len() as u64)?;
        Ok(body)
    }

    /// So many of the body arrived, and were not looked at.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result<(), Failure> {
        let left = self.left.unwrap_or(0).checked_sub(bytes).ok_or(Failure::Surplus)?;
        self.left = self.left.map(|_| left);
        Ok(())
    }

    /// How much of the body is to come, once the head is whole.
    pub(crate) fn left(&self) -> Option<u64> {
        self.left
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.left == Some(0)
    }

    /// Whether the server said that it closes the connection behind it.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Room for the next one.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.left = None;
        self.closes = false;
    }

    /// What is behind the head.
    fn read_head<'a>(&mut self, wanted: &Wanted, bytes: &'a [u8]) -> Result<&'a [u8], Failure> {
        let before = self.head.len();
        let read = if before == 0 {
            read(bytes, wanted)?
        } else {
            self.head.extend_from_slice(bytes);
            read(&self.head, wanted)?
        };
        match read {
            Some(head) => {
                self.left = Some(wanted.length);
                self.closes = head.closes;
                bytes.get(head.length - before..).ok_or(Failure::Head)
            }
            None => {
                if before == 0 {
                    self.head.extend_from_slice(bytes);
                }
                if self.head.len() > LONGEST_HEAD { Err(Failure::Head) } else { Ok(&[]) }
            }
        }
    }
}

struct Head {
    length: usize,
    closes: bool,
}

/// A head that is what was wanted; nothing while it is not whole.
fn read(bytes: &[u8], wanted: &Wanted) -> Result<Option<Head>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes).map_err(|_| Failure::Head)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.ok_or(Failure::Head)?;
    if status != wanted.status {
        return Err(Failure::Status(status));
    }
    let (mut content_length, mut range, mut closes) = (None, None, false);
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let number = std::str::from_utf8(field.value).ok().and_then(|text| text.parse::<u64>().ok());
            // Twice is once too often (RFC 9112 section 6.3).
            if content_length.replace(number).is_some() {
                return Err(Failure::Length);
            }
        } else if is("transfer-encoding") {
            return Err(Failure::Length);
        } else if is("content-range") {
            range = Some(field.value);
        } else if is("connection") {
            closes = field.value.eq_ignore_ascii_case(b"close");
        }
    }
    if content_length.flatten() != Some(wanted.length) {
        return Err(Failure::Length);
    }
    let of_range = wanted.status == 206;
    if of_range && range != Some(format!("bytes {}/{}", wanted.ends(), wanted.size).as_bytes()) {
        return Err(Failure::Range);
    }
    Ok(Some(Head { length, closes }))
}
