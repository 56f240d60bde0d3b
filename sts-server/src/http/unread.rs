//! What is left of a request's body when its answer is ready. It is taken in and dropped, within
//! bounds: a connection that is closed on a client that still writes can cost it the answer, and one
//! that it would use again.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// How much is taken in.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// For how long.
const MAX_TIME: Duration = Duration::from_secs(5);

/// A body that comes back when its reader drops it.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            // Nobody takes it back if the request was cancelled.
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

/// Takes in what no handler read.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (back, mut rest) = oneshot::channel();
    let lend = |body| {
        Body::new(Lent {
            body,
            back: Some(back),
        })
    };
    let response = next.run(request.map(lend)).await;
    if let Ok(rest) = rest.try_recv() {
        let _ = tokio::time::timeout(MAX_TIME, take_in(rest)).await;
    }
    response
}

async fn take_in(mut body: Body) {
    let mut seen_bytes = 0_usize;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        seen_bytes = seen_bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if seen_bytes > MAX_BYTES {
            break;
        }
    }
}
