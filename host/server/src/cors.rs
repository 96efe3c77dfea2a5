//! Which web pages may ask.

use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::tracking::REQUEST_ID;

/// The web pages that may ask, by where they come from. Browsers ask for this; other programs do not care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// None but the server's own.
    #[default]
    Nobody,
    /// All of them.
    Anyone,
    /// Those that this very machine serves, at any port.
    Local,
    /// Those of these origins, as `https://example.org`.
    Origins(Vec<HeaderValue>),
}

impl Cors {
    /// Lets pages of these origins ask; `*` is all, and `localhost` alone those that this very machine serves.
    ///
    /// # Errors
    ///
    /// The first that is no origin: a scheme and a host, perhaps with a port, and nothing behind.
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let origins: Vec<&str> = origins.into_iter().collect();
        if origins.contains(&"*") {
            return Ok(Self::Anyone);
        }
        if origins == ["localhost"] {
            return Ok(Self::Local);
        }
        let origin = |origin: &&str| {
            let host = origin
                .split_once("://")
                .map(|(_, host)| host)
                .filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ', ',']));
            host.and_then(|_| HeaderValue::from_str(origin).ok()).ok_or_else(|| (*origin).to_owned())
        };
        let origins: Vec<HeaderValue> = origins.iter().map(origin).collect::<Result<_, _>>()?;
        Ok(if origins.is_empty() { Self::Nobody } else { Self::Origins(origins) })
    }

    /// Whether a page of this origin may ask.
    pub(crate) fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Nobody => false,
            Self::Anyone => true,
            Self::Local => is_local(origin),
            Self::Origins(origins) => origins.contains(origin),
        }
    }

    /// The layer that tells browsers so, if any page may.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let origin = match self {
            Self::Nobody => return None,
            Self::Anyone => AllowOrigin::any(),
            Self::Local => AllowOrigin::predicate(|origin, _| is_local(origin)),
            Self::Origins(origins) => AllowOrigin::list(origins.iter().cloned()),
        };
        let layer = CorsLayer::new()
            .allow_origin(origin)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            // SDKs send many headers of their own.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers([HeaderName::from_static(REQUEST_ID), RETRY_AFTER]);
        Some(layer)
    }
}

/// Whether an origin is this very machine.
fn is_local(origin: &HeaderValue) -> bool {
    let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    uri.is_some_and(|uri| {
        uri.scheme().is_some() && matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_local_is_this_machine() {
        let local = |origin: &'static str| {
            Cors::new(["localhost"]).unwrap().allows(&HeaderValue::from_static(origin))
        };
        for origin in
            ["http://localhost", "https://localhost:8080", "http://127.0.0.1:3000", "http://[::1]:3000"]
        {
            assert!(local(origin), "{origin}");
        }
        for origin in
            ["http://localhost.evil.com", "http://notlocalhost", "http://evil.com", "localhost", "null"]
        {
            assert!(!local(origin), "{origin}");
        }
    }

    #[test]
    fn origins_are_scheme_and_host() {
        assert_eq!(Cors::new([]), Ok(Cors::Nobody));
        assert_eq!(Cors::new(["http://a", "*"]), Ok(Cors::Anyone));
        let two = ["http://localhost:3000", "https://example.org"];
        assert_eq!(Cors::new(two), Ok(Cors::Origins(two.map(HeaderValue::from_static).into())));
        for wrong in ["example.org", "https://", "https://example.org/", "https://a,https://b", ""] {
            assert_eq!(Cors::new(["http://fine", wrong]), Err(wrong.to_owned()));
        }
    }
}
