//! An OpenTelemetry collector, as far as it takes spans and keeps them: OTLP over HTTP in protobuf.

use std::{
    io::{self, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::Span as Exported,
};
use prost::Message;

use crate::http::{read_body, read_head};

/// The collector. It lives as long as the test's process.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
}

/// A span that arrived.
#[derive(Clone, Debug)]
pub struct Span {
    /// Of which service.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// The trace, in hexadecimal.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The span above it.
    pub parent: String,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
    attributes: Vec<KeyValue>,
}

impl Span {
    /// An attribute, as text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        text(&self.attributes, name)
    }
}

impl Collector {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            spans: Arc::default(),
        };
        let spans = Arc::clone(&collector.spans);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let spans = Arc::clone(&spans);
                // A connection that ends is no failure.
                thread::spawn(move || serve(&stream, &spans).ok());
            }
        });
        collector
    }

    /// What is to be named to those who send.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, spans: &Mutex<Vec<Span>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (first, headers) = read_head(&mut reader)?;
        let body = read_body(&mut reader, &headers)?;
        assert!(first.starts_with("POST /v1/traces "), "{first}");
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        for of_service in request.resource_spans {
            let Resource { attributes, .. } = of_service.resource.unwrap();
            let service = text(&attributes, "service.name").unwrap();
            let exported = of_service.scope_spans.into_iter().flat_map(|it| it.spans);
            spans
                .lock()
                .unwrap()
                .extend(exported.map(|span| read(&service, span)));
        }
        let mut stream = stream;
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
}

fn read(service: &str, span: Exported) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Span {
        service: service.to_owned(),
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        nanos: span.end_time_unix_nano - span.start_time_unix_nano,
        attributes: span.attributes,
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}
