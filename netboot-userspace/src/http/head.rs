//! A request head as bytes in, meaning out (RFC 9112). No clock, no socket, no file.
//!
//! Strict: what two implementations could read in two ways is refused, and the connection closed. `httparse` splits the
//! lines; framing, `Host` and line ends are judged here.

/// Largest head that is read: request line and header fields.
pub const MAX_HEAD: usize = 32 * 1024;
/// Largest request line.
pub const MAX_LINE: usize = 8 * 1024;
const MAX_FIELDS: usize = 100;

/// What the bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // It lives on the stack, until it was looked at.
pub enum Parsed<'a> {
    /// More bytes are needed.
    Incomplete,
    /// Refused; the connection must be closed after the answer.
    Refused(Status),
    /// A request.
    Head(Head<'a>),
}

/// A request head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Bytes of the input that it takes.
    pub len: usize,
    /// The method.
    pub method: Method,
    /// The path as it was sent, without query; `None` for `*` and for authority-form.
    pub path: Option<&'a str>,
    /// The boot that the query says it is for, see [`boot_in`].
    pub boot: Option<u64>,
    /// Whether the connection goes on after the answer.
    pub keep_alive: bool,
    /// Whether this is HTTP/1.0, whose clients need to be told so.
    pub old: bool,
    /// What follows the head.
    pub body: Body,
    /// Whether the client wants the SHA-256 of the whole file.
    pub wants_digest: Wants,
    /// Preconditions and range.
    pub conditions: Conditions<'a>,
}

/// In which fields a client wants the SHA-256 of the whole file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// `Repr-Digest` (RFC 9530 section 4).
    pub repr_digest: bool,
    /// `Digest`, which that has replaced (RFC 3230 section 4.3.1).
    pub digest: bool,
}

impl Wants {
    /// In any.
    pub fn any(self) -> bool {
        self.repr_digest || self.digest
    }
}

/// How the body of a request is framed (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks; where they end, only their reader knows.
    Chunked,
}

/// Methods, as far as static files care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// One that RFC 9110 or 5789 defines, and files don't allow.
    Known,
    /// CONNECT and TRACE: of use to nobody here.
    Forbidden,
    /// Any other.
    Unknown,
}

/// Header fields that decide between whole, part and nothing (RFC 9110 sections 13 and 14).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// `Range`.
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-Match`: a list, which may come in several lines.
    pub if_match: Lines<'a>,
    /// `If-None-Match`: likewise.
    pub if_none_match: Lines<'a>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a str>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a str>,
}

/// The lines of a field that is a list (RFC 9110 section 5.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines<'a>([Option<&'a str>; 4]);

impl<'a> Lines<'a> {
    /// One line.
    pub fn one(line: &'a str) -> Self {
        Self([Some(line), None, None, None])
    }

    /// These lines and one more, while there is room.
    pub(super) fn and(mut self, line: &'a str) -> Self {
        let _ = self.push(line);
        self
    }

    /// All lines, unless there are none.
    pub fn some(self) -> Option<impl Iterator<Item = &'a str>> {
        self.0[0].is_some().then(|| self.0.into_iter().flatten())
    }

    /// Refuses more lines than anybody sends.
    fn push(&mut self, line: &'a str) -> Result<(), Status> {
        let free = self.0.iter_mut().find(|slot| slot.is_none()).ok_or(Status::FieldsTooLarge)?;
        *free = Some(line);
        Ok(())
    }
}

/// The statuses that the data plane answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names are RFC 9110's.
pub enum Status {
    Ok = 200,
    PartialContent = 206,
    NotModified = 304,
    BadRequest = 400,
    NotFound = 404,
    MethodNotAllowed = 405,
    PreconditionFailed = 412,
    UriTooLong = 414,
    RangeNotSatisfiable = 416,
    ExpectationFailed = 417,
    FieldsTooLarge = 431,
    ServerError = 500,
    NotImplemented = 501,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The reason phrase.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::PartialContent => "Partial Content",
            Self::NotModified => "Not Modified",
            Self::BadRequest => "Bad Request",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::PreconditionFailed => "Precondition Failed",
            Self::UriTooLong => "URI Too Long",
            Self::RangeNotSatisfiable => "Range Not Satisfiable",
            Self::ExpectationFailed => "Expectation Failed",
            Self::FieldsTooLarge => "Request Header Fields Too Large",
            Self::ServerError => "Internal Server Error",
            Self::NotImplemented => "Not Implemented",
            Self::Unavailable => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// Reads a head. `scanned` says how many bytes of `input` an earlier call has seen, so that a slow sender costs no more
/// than a fast one.
pub fn parse(input: &[u8], scanned: usize) -> Parsed<'_> {
    let skip = if input.starts_with(b"\r\n") { 2 } else { 0 };
    // Nothing behind the longest head has a say, so that it doesn't matter in which pieces they came.
    let longest = &input[..input.len().min(skip + MAX_HEAD)];
    let end = match head_end(longest, skip, scanned) {
        Ok(Some(end)) => end,
        Ok(None) if input.len() > longest.len() => {
            let is_line = is_line_long(&input[skip..]);
            return Parsed::Refused(if is_line { Status::UriTooLong } else { Status::FieldsTooLarge });
        }
        Ok(None) => return Parsed::Incomplete,
        Err(status) => return Parsed::Refused(status),
    };
    match read(&input[skip..end]) {
        Ok(head) => Parsed::Head(Head { len: end, ..head }),
        Err(status) => Parsed::Refused(status),
    }
}

/// Where the empty line ends. Every line must end with CR LF, and CR must not be anywhere else (RFC 9112 section 2.2).
fn head_end(input: &[u8], skip: usize, scanned: usize) -> Result<Option<usize>, Status> {
    let mut at = scanned.saturating_sub(4).max(skip);
    while let Some(&byte) = input.get(at) {
        match byte {
            b'\n' if at == skip || input[at - 1] != b'\r' => return Err(Status::BadRequest),
            b'\r' if input.get(at + 1).is_some_and(|&next| next != b'\n') => return Err(Status::BadRequest),
            b'\n' if at >= skip + 3 && input[at - 3..at] == *b"\r\n\r" => return Ok(Some(at + 1)),
            // A second empty line before the request, or no request at all.
            b'\n' if at == skip + 1 => return Err(Status::BadRequest),
            0 => return Err(Status::BadRequest),
            _ => at += 1,
        }
    }
    Ok(None)
}

/// Whether the request line is too long; it may not have come to its end.
fn is_line_long(bytes: &[u8]) -> bool {
    bytes.len() >= MAX_LINE + 2 && !bytes[..MAX_LINE + 2].contains(&b'\n')
}

fn read(bytes: &[u8]) -> Result<Head<'_>, Status> {
    if is_line_long(bytes) {
        return Err(Status::UriTooLong);
    }
    // obs-fold (section 5.2), and white space before the first field (section 2.2).
    if bytes.windows(3).any(|w| w == b"\r\n " || w == b"\r\n\t") {
        return Err(Status::BadRequest);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Status::BadRequest),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::FieldsTooLarge),
        Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Status::BadRequest);
    };
    let old = minor == 0;
    let method = self::method(method);
    let mut facts = Facts::default();
    for field in request.headers.iter() {
        facts.field(field.name, field.value)?;
    }
    let body = facts.framing(old)?;
    if facts.hosts > 1 || (facts.hosts == 0 && !old) {
        return Err(Status::BadRequest);
    }
    if facts.unexpected && !old {
        return Err(Status::ExpectationFailed);
    }
    Ok(Head {
        len: 0,
        method,
        path: path(method, target)?,
        boot: target.split_once('?').and_then(|(_, query)| boot_in(query)),
        keep_alive: if old { facts.keep_alive && !facts.close } else { !facts.close },
        old,
        body,
        wants_digest: facts.wants_digest,
        conditions: facts.conditions,
    })
}

/// The boot that a query names: 16 hex digits behind `boot=`, as our scripts have it.
pub(super) fn boot_in(query: &str) -> Option<u64> {
    let id = query.split('&').find_map(|pair| pair.strip_prefix("boot="))?;
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| u64::from_str_radix(id, 16).ok()).flatten()
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" => Method::Known,
        "TRACE" | "CONNECT" => Method::Forbidden,
        _ => Method::Unknown,
    }
}

/// The path of origin-form and absolute-form (section 3.2); the latter's authority has replaced `Host`. `*` and authority-form are
/// for methods of their own.
fn path(method: Method, target: &str) -> Result<Option<&str>, Status> {
    // A fragment is nobody's to send: what is read of it, nothing or all, readers disagree about.
    if target.contains('#') {
        return Err(Status::BadRequest);
    }
    let scheme = ["http://", "https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let path = match scheme {
        Some(scheme) => {
            let rest = &target[scheme.len()..];
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            if !host_is_valid(&rest.as_bytes()[..end]) {
                return Err(Status::BadRequest);
            }
            if rest[end..].starts_with('/') { &rest[end..] } else { "/" }
        }
        None if target.starts_with('/') => target,
        None if method == Method::Forbidden || (method == Method::Known && target == "*") => return Ok(None),
        None => return Err(Status::BadRequest),
    };
    Ok(Some(path.split('?').next().unwrap_or(path)))
}

/// What the fields say, gathered in one pass.
#[derive(Default)]
struct Facts<'a> {
    hosts: usize,
    close: bool,
    keep_alive: bool,
    length: Option<u64>,
    encoding: Option<&'a str>,
    unexpected: bool,
    wants_digest: Wants,
    conditions: Conditions<'a>,
}

impl<'a> Facts<'a> {
    fn field(&mut self, name: &str, value: &'a [u8]) -> Result<(), Status> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let text = || std::str::from_utf8(value).ok();
        if is("host") {
            self.hosts += 1;
            if !host_is_valid(value) {
                return Err(Status::BadRequest);
            }
        } else if is("content-length") {
            let length = text().filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
            let length = length.and_then(|t| t.parse().ok()).ok_or(Status::BadRequest)?;
            if self.length.replace(length).is_some() {
                return Err(Status::BadRequest);
            }
        } else if is("transfer-encoding") {
            if self.encoding.replace(text().ok_or(Status::BadRequest)?).is_some() {
                return Err(Status::BadRequest);
            }
        } else if is("connection") {
            for token in text().unwrap_or_default().split(',').map(str::trim) {
                self.close |= token.eq_ignore_ascii_case("close");
                self.keep_alive |= token.eq_ignore_ascii_case("keep-alive");
            }
        } else if is("expect") {
            self.unexpected |= !text().is_some_and(|value| value.trim().eq_ignore_ascii_case("100-continue"));
        } else if is("want-repr-digest") {
            self.wants_digest.repr_digest |= text().is_some_and(wants_sha256);
        } else if is("want-digest") {
            self.wants_digest.digest |= text().is_some_and(wanted_sha256);
        } else {
            self.condition(name, text())?;
        }
        Ok(())
    }

    /// A line that can't be read is no condition; one that comes twice, and is no list, can be read in two ways.
    fn condition(&mut self, name: &str, value: Option<&'a str>) -> Result<(), Status> {
        let conditions = &mut self.conditions;
        let lists =
            [("if-match", &mut conditions.if_match), ("if-none-match", &mut conditions.if_none_match)];
        if let Some((_, lines)) = lists.into_iter().find(|(other, _)| name.eq_ignore_ascii_case(other)) {
            return lines.push(value.unwrap_or_default());
        }
        let single = [
            ("range", &mut conditions.range),
            ("if-range", &mut conditions.if_range),
            ("if-modified-since", &mut conditions.if_modified_since),
            ("if-unmodified-since", &mut conditions.if_unmodified_since),
        ];
        let Some((_, slot)) = single.into_iter().find(|(other, _)| name.eq_ignore_ascii_case(other)) else {
            return Ok(());
        };
        match slot.replace(value.unwrap_or_default()) {
            Some(_) => Err(Status::BadRequest),
            None => Ok(()),
        }
    }

    /// How the body is framed (section 6). Doubt is an error: it is how requests are smuggled.
    fn framing(&self, old: bool) -> Result<Body, Status> {
        let Some(encoding) = self.encoding else {
            return Ok(self.length.filter(|&length| length > 0).map_or(Body::None, Body::Length));
        };
        if self.length.is_some() || old {
            return Err(Status::BadRequest);
        }
        let mut codings = encoding.split(',').map(str::trim).rev();
        let chunked = |coding: &str| coding.eq_ignore_ascii_case("chunked");
        match codings.next() {
            Some(last) if chunked(last) => match codings.next() {
                None => Ok(Body::Chunked),
                Some(_) if codings.any(chunked) => Err(Status::BadRequest),
                Some(other) => Err(if chunked(other) { Status::BadRequest } else { Status::NotImplemented }),
            },
            _ if codings.any(chunked) => Err(Status::BadRequest),
            _ => Err(Status::NotImplemented),
        }
    }
}

/// Whether a list of algorithms and their weights has SHA-256, with another weight than 0.
pub(super) fn wants_sha256(list: &str) -> bool {
    let weighed = list.split(',').filter_map(|entry| entry.split_once('='));
    weighed.into_iter().any(|(algorithm, weight)| {
        algorithm.trim() == "sha-256" && matches!(weight.trim().parse(), Ok(1..=10_u8))
    })
}

/// The same of RFC 3230 section 4.3.1: algorithms in any case, each of which may have a weight (RFC 9110 section 12.4.2).
pub(super) fn wanted_sha256(list: &str) -> bool {
    let is_weight = |parameter: &str| {
        let number =
            parameter.trim().strip_prefix("q=").filter(|q| q.bytes().all(|b| b"0123456789.".contains(&b)));
        number.and_then(|q| q.parse().ok()).is_some_and(|weight: f32| weight > 0.0 && weight <= 1.0)
    };
    list.split(',').any(|entry| {
        let mut parts = entry.split(';');
        let is_ours = parts.next().is_some_and(|algorithm| algorithm.trim().eq_ignore_ascii_case("sha-256"));
        is_ours && parts.all(is_weight)
    })
}

/// A host and perhaps a port, in the characters that RFC 3986 allows there.
fn host_is_valid(host: &[u8]) -> bool {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(b);
    !host.is_empty() && host.iter().all(legal)
}

#[cfg(test)]
mod tests;
