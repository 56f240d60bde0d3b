//! `/console`: a page to look at, for whoever holds the admin token. It asks the same interface as everybody
//! else; what is served here is the page and nothing of any zone.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};

/// Nothing but this page's own files, no inline script or style, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($name:literal, $media_type:expr) => {
        (
            concat!("/console/", $name),
            $media_type,
            include_str!(concat!("../../console/", $name)),
        )
    };
}

const FILES: [(&str, &str, &str); 9] = [
    file!("style.css", CSS),
    file!("api.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("gateways.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("main.js", SCRIPT),
    file!("policies.js", SCRIPT),
    file!("sessions.js", SCRIPT),
    file!("story.js", SCRIPT),
];
const PAGE: &str = include_str!("../../console/index.html");

/// The page and its files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = Router::new()
        .route("/console", get(async || served(HTML, PAGE)))
        .route("/console/", get(async || Redirect::permanent("/console")));
    FILES
        .into_iter()
        .fold(page, |router, (path, media_type, text)| {
            router.route(path, get(async move || served(media_type, text)))
        })
}

fn served(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    let mut response = text.into_response();
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
