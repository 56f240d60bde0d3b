//! What stands behind the gateway: an HTTP server that answers everything and remembers everything,
//! so that tests can tell what reached it and what did not.

use std::{
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::http::{TAG, read_body, read_head};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Arrival {
    /// All values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let own = self.headers.iter().filter(|(own, _)| own == name);
        own.map(|(_, value)| value.as_str()).collect()
    }

    /// The names of all headers.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }
}

/// The server. It lives as long as the test's process.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Upstream {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            arrivals: Arc::default(),
        };
        let arrivals = Arc::clone(&upstream.arrivals);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let arrivals = Arc::clone(&arrivals);
                // A connection that ends is no failure.
                thread::spawn(move || serve(&stream, &arrivals).ok());
            }
        });
        upstream
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request that carried this tag, if it arrived.
    pub fn arrival(&self, tag: &str) -> Option<Arrival> {
        let arrivals = self.arrivals.lock().unwrap();
        arrivals
            .iter()
            .find(|arrival| arrival.header(TAG).contains(&tag))
            .cloned()
    }

    /// How many requests have arrived.
    pub fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }
}

fn serve(stream: &TcpStream, arrivals: &Mutex<Vec<Arrival>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let (first, headers) = read_head(&mut reader)?;
        let body = read_body(&mut reader, &headers)?;
        let mut parts = first.split(' ').map(str::to_owned);
        let flow = Flow::of(&first);
        arrivals.lock().unwrap().push(Arrival {
            method: parts.next().unwrap_or_default(),
            target: parts.next().unwrap_or_default(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        });
        if let Some(flow) = flow {
            return flow.run(stream);
        }
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nupstream")?;
    }
}

/// Answers that do not end by themselves, as the query wants them.
#[derive(Clone, Copy)]
enum Flow {
    /// None at all.
    Silent,
    /// Server-sent events, many a second or only one.
    Events { often: bool },
    /// Chunks of bytes.
    Chunks,
}

impl Flow {
    fn of(first: &str) -> Option<Self> {
        let (_, query) = first.split_once('?')?;
        match query.split(' ').next()? {
            "silent" => Some(Self::Silent),
            "events" => Some(Self::Events { often: true }),
            "one-event" => Some(Self::Events { often: false }),
            "chunks" => Some(Self::Chunks),
            _ => None,
        }
    }

    /// Until the other side closes.
    fn run(self, mut stream: &TcpStream) -> io::Result<()> {
        let kind = match self {
            Self::Silent => None,
            Self::Events { .. } => Some("text/event-stream"),
            Self::Chunks => Some("application/octet-stream"),
        };
        if let Some(kind) = kind {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
        }
        let chunk = match self {
            Self::Chunks => b"f\r\n{\"data\": \"tic\"}\r\n",
            _ => b"f\r\ndata: tick 00\n\n\r\n",
        };
        if kind.is_some() {
            stream.write_all(chunk)?;
        }
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        loop {
            match stream.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(error),
            }
            if matches!(self, Self::Events { often: true } | Self::Chunks) {
                stream.write_all(chunk)?;
            }
        }
    }
}
