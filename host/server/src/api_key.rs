//! Who may ask: keys, compared in constant time.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use subtle::{Choice, ConstantTimeEq};

use crate::body::refuse;
use crate::failure::Failure;

/// The keys that let a client in; without any, everyone is. Clones share them, so that they can be replaced while
/// the server runs.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: Arc<RwLock<Vec<String>>>,
}

impl ApiKeys {
    /// Lets in who has one of these keys.
    #[must_use]
    pub fn new(keys: Vec<String>) -> Self {
        Self { keys: Arc::new(RwLock::new(keys)) }
    }

    /// Lets in who has one of these keys, from the next request on, and no one else.
    pub fn replace(&self, keys: Vec<String>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Lets in who has a key; `what` is what it is called.
    pub(crate) fn check(&self, headers: &HeaderMap, what: &str) -> Result<(), Failure> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.is_empty() {
            return Ok(());
        }
        let Some(given) = given(headers) else {
            let message = format!("{what} is required: send `Authorization: Bearer KEY` or `X-Api-Key: KEY`");
            return Err(Failure::authentication(message));
        };
        // Every key is compared, all of it, so that the time says nothing of which one came close.
        let right = keys.iter().fold(Choice::from(0), |right, key| right | key.as_bytes().ct_eq(given));
        if bool::from(right) {
            Ok(())
        } else {
            Err(Failure::authentication(format!("the key sent is not {what} of this server")))
        }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.keys.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(formatter, "ApiKeys({count})")
    }
}

fn given(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(authorization) = headers.get(AUTHORIZATION) {
        let (scheme, key) = authorization.as_bytes().split_at_checked("bearer ".len())?;
        return scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii());
    }
    headers.get("x-api-key").map(|key| key.as_bytes().trim_ascii())
}

/// The layer that turns away who has no key.
pub(crate) async fn require(
    State(keys): State<ApiKeys>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    match keys.check(request.headers(), "an API key") {
        Ok(()) => Ok(next.run(request).await),
        Err(failure) => Err(refuse(request, failure).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_key_lets_in() {
        let keys = ApiKeys::new(vec!["first".into(), "second".into()]);
        let cases = [
            (Some(("authorization", "Bearer first")), true),
            (Some(("authorization", "bearer second")), true),
            (Some(("x-api-key", "second")), true),
            (Some(("authorization", "Bearer firs")), false),
            (Some(("authorization", "Bearer first2")), false),
            (Some(("authorization", "Bearer ")), false),
            (Some(("authorization", "Basic first")), false),
            (Some(("authorization", "first")), false),
            (None, false),
        ];
        for (header, lets_in) in cases {
            let headers =
                header.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            assert_eq!(keys.check(&headers.collect(), "a key").is_ok(), lets_in, "{header:?}");
        }
    }

    #[test]
    fn keys_can_be_replaced_and_are_never_printed() {
        let keys = ApiKeys::default();
        assert!(keys.check(&HeaderMap::new(), "a key").is_ok());
        let shared = keys.clone();
        keys.replace(vec!["secret".into()]);
        assert!(shared.check(&HeaderMap::new(), "a key").is_err());
        assert_eq!(format!("{keys:?}"), "ApiKeys(1)");
    }
}
