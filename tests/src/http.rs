//! HTTP/1.1 by hand: sends exactly the bytes that a test wants, which client libraries would repair
//! or refuse.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::PATIENCE;

/// The header by which the upstream tells requests apart.
pub const TAG: &str = "x-e2e-tag";

static NEXT_TAG: AtomicU64 = AtomicU64::new(1);

/// A request, headers in the order and number in which they were added.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: Vec<u8>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request for `localhost`.
    pub fn new(method: &str, target: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: vec![("host".to_owned(), "localhost".to_owned())],
            body: Vec::new(),
        }
    }

    /// `GET` of `target`.
    pub fn get(target: impl Into<Vec<u8>>) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header, beside any of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces `Host`.
    pub fn host(mut self, host: &str) -> Self {
        self.headers[0].1 = host.to_owned();
        self
    }

    /// Adds `Authorization: Bearer <token>`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body.
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// Marks the request, and gives the mark by which the upstream would know it.
    pub fn tagged(self) -> (Self, String) {
        let tag = format!("t{}", NEXT_TAG.fetch_add(1, Ordering::Relaxed));
        (self.header(TAG, &tag), tag)
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// If the connection fails or what comes back is not HTTP.
    pub fn send(&self, to: SocketAddr) -> io::Result<Response> {
        Connection::open(to)?.exchange(self)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} ", self.method).into_bytes();
        bytes.extend_from_slice(&self.target);
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !self.body.is_empty() {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let target = String::from_utf8_lossy(&self.target);
        write!(f, "{} {target}", self.method)?;
        for (name, value) in &self.headers {
            let start: String = value.chars().take(160).collect();
            write!(f, " [{name}: {start}]")?;
        }
        Ok(())
    }
}

/// A response, its body complete.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// The one header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let first = values.next()?;
        assert!(values.next().is_none(), "{name} came more than once");
        Some(&first.1)
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How many bytes the headers took.
    pub fn header_bytes(&self) -> usize {
        let pairs = self.headers.iter();
        pairs
            .map(|(name, value)| name.len() + value.len() + ": \r\n".len())
            .sum()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{self}: the body is not JSON: {error}"))
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

/// A connection that is kept open between exchanges.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads the response to its end.
    ///
    /// # Errors
    /// If the connection fails or what comes back is not HTTP.
    pub fn exchange(&mut self, request: &Request) -> io::Result<Response> {
        self.0.get_mut().write_all(&request.bytes())?;
        let (first, headers) = read_head(&mut self.0)?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| invalid(format!("{first:?} is no status line")))?;
        let body = read_body(&mut self.0, &headers)?;
        Ok(Response {
            status,
            headers,
            body,
        })
    }
}

impl Connection {
    /// Sends a request and reads the head of its response.
    ///
    /// # Errors
    /// As [`Connection::exchange`].
    pub fn begin(&mut self, request: &Request) -> io::Result<u16> {
        self.0.get_mut().write_all(&request.bytes())?;
        let (first, _) = read_head(&mut self.0)?;
        first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| invalid(format!("{first:?} is no status line")))
    }

    /// Reads what comes of a response that has begun, until the connection ends.
    ///
    /// # Panics
    /// If it does not end.
    pub fn until_cut(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                panic!("the response goes on: {error}")
            }
            _ => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads the first line and the headers of a message.
pub(crate) fn read_head(stream: &mut impl BufRead) -> io::Result<(String, Vec<(String, String)>)> {
    let first = read_line(stream)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok((first, headers));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(format!("{line:?} is no header")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Reads the body that the headers announce, by length or in chunks.
pub(crate) fn read_body(
    stream: &mut impl BufRead,
    headers: &[(String, String)],
) -> io::Result<Vec<u8>> {
    let header = |name: &str| headers.iter().find(|(own, _)| own == name);
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        loop {
            let line = read_line(stream)?;
            let size = u64::from_str_radix(&line, 16)
                .map_err(|_| invalid(format!("{line:?} is no chunk size")))?;
            stream.take(size).read_to_end(&mut body)?;
            while !read_line(stream)?.is_empty() && size == 0 {}
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = match header("content-length") {
        Some((_, length)) => length
            .parse()
            .map_err(|_| invalid(format!("{length:?} is no length")))?,
        None => 0,
    };
    stream.take(length).read_to_end(&mut body)?;
    Ok(body)
}
