//! Requests that carry a mandate: a small HTTP client for a resource behind a gateway, and a `tower` layer
//! for clients that exist.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use reqwest::{Method, RequestBuilder};
use tower::{Layer, Service};

use crate::{Error, Mandate, TokenSource};

/// The header that names the resource to the gateway.
pub const RESOURCE_HEADER: &str = "x-caracal-resource";

/// A resource behind a gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    url: String,
    mandates: Arc<TokenSource>,
    http: reqwest::Client,
}

impl Gateway {
    pub(crate) fn new(url: &str, mandates: Arc<TokenSource>) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            mandates,
            http: reqwest::Client::new(),
        }
    }

    /// A GET of `path`, with a mandate.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    pub async fn get(&self, path: &str) -> Result<RequestBuilder, Error> {
        self.request(Method::GET, path).await
    }

    /// A request to `path`, with a mandate; what else it needs is added by the caller.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    pub async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let mandate = self.mandates.token().await?;
        let url = format!("{}/{}", self.url, path.trim_start_matches('/'));
        Ok(self
            .http
            .request(method, url)
            .bearer_auth(mandate.token())
            .header(RESOURCE_HEADER, self.mandates.resource()))
    }
}

/// Puts a mandate on every request of a `tower` service.
#[derive(Clone, Debug)]
pub struct MandateLayer(Arc<TokenSource>);

impl MandateLayer {
    /// With mandates from `mandates`.
    pub fn new(mandates: Arc<TokenSource>) -> Self {
        Self(mandates)
    }
}

impl<S> Layer<S> for MandateLayer {
    type Service = MandateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MandateService {
            inner,
            mandates: Arc::clone(&self.0),
        }
    }
}

/// A service that puts a mandate on every request.
#[derive(Clone, Debug)]
pub struct MandateService<S> {
    inner: S,
    mandates: Arc<TokenSource>,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError<E: fmt::Debug + fmt::Display> {
    /// There was no mandate for it.
    #[error(transparent)]
    Mandate(#[from] Error),
    /// The service below.
    #[error("{0}")]
    Service(E),
}

impl<S, B, R> Service<Request<B>> for MandateService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: fmt::Debug + fmt::Display,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = ServiceError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner
            .poll_ready(context)
            .map_err(ServiceError::Service)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready is used up; its copy is not.
        let copy = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, copy);
        let mandates = Arc::clone(&self.mandates);
        Box::pin(async move {
            let mandate = mandates.token().await?;
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, bearer(&mandate)?);
            let resource = HeaderValue::from_str(mandates.resource())
                .map_err(|error| Error::Protocol(error.to_string()))?;
            headers.insert(RESOURCE_HEADER, resource);
            let response = inner.call(request).await.map_err(ServiceError::Service)?;
            // The next request gets another one, rather than the same answer.
            if response.status() == StatusCode::UNAUTHORIZED {
                mandates.forget(&mandate).await;
            }
            Ok(response)
        })
    }
}

fn bearer(mandate: &Mandate) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", mandate.token()))
        .map_err(|error| Error::Protocol(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}
