//! Which web pages may ask.

use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Method};
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
    /// Those of these origins, as `https://example.org`.
    Origins(Vec<HeaderValue>),
}

impl Cors {
    /// Lets pages of these origins ask; `*` is all.
    ///
    /// # Errors
    ///
    /// The first that is no origin: a scheme and a host, perhaps with a port, and nothing behind.
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let origins: Vec<&str> = origins.into_iter().collect();
        if origins.contains(&"*") {
            return Ok(Self::Anyone);
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
            Self::Origins(origins) => origins.contains(origin),
        }
    }

    /// The layer that tells browsers so, if any page may.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let origin = match self {
            Self::Nobody => return None,
            Self::Anyone => AllowOrigin::any(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
