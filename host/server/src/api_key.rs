//! Who may ask: keys, compared in constant time.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::app::Options;
use crate::body::refuse;
use crate::client::Client;
use crate::failure::Failure;

/// The keys that let a client in; without any, everyone is. Clones share them, so that they can be replaced while
/// the server runs.
#[derive(Clone)]
pub struct ApiKeys {
    keys: Arc<RwLock<Keys>>,
}

struct Keys {
    keys: Vec<Key>,
    /// All of those who need no key.
    anyone: Client,
    /// Clients made so far.
    clients: u64,
}

/// A key, and who has it.
struct Key {
    text: String,
    client: Client,
}

impl Default for ApiKeys {
    fn default() -> Self {
        let keys = Keys { keys: Vec::new(), anyone: Client::new(0), clients: 0 };
        Self { keys: Arc::new(RwLock::new(keys)) }
    }
}

impl ApiKeys {
    /// Lets in who has one of these keys.
    #[must_use]
    pub fn new(keys: Vec<String>) -> Self {
        let new = Self::default();
        new.replace(keys);
        new
    }

    /// Lets in who has one of these keys, from the next request on, and no one else. A key that was there before
    /// keeps what it has used of its limits.
    pub fn replace(&self, keys: Vec<String>) {
        let mut guard = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = std::mem::take(&mut guard.keys);
        for text in keys {
            let key = match known.iter().position(|key| key.text == text) {
                Some(place) => known.swap_remove(place),
                None if guard.keys.iter().any(|key| key.text == text) => continue,
                None => {
                    guard.clients += 1;
                    Key { text, client: Client::new(guard.clients) }
                }
            };
            guard.keys.push(key);
        }
    }

    /// Whether there are no keys, so that everyone is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).keys.is_empty()
    }

    /// Lets in who has a key, and says who that is; `what` is what the key is called.
    pub(crate) fn check(&self, headers: &HeaderMap, what: &str) -> Result<Client, Failure> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.keys.is_empty() {
            return Ok(keys.anyone.clone());
        }
        let Some(given) = given(headers) else {
            let message = format!("{what} is required: send `Authorization: Bearer KEY` or `X-Api-Key: KEY`");
            return Err(Failure::authentication(message));
        };
        // Every key is compared, all of it, so that the time says nothing of which one came close.
        let mut right = 0;
        let mut is_right = Choice::from(0);
        for (place, key) in (0_u64..).zip(&keys.keys) {
            let is_this = key.text.as_bytes().ct_eq(given);
            right.conditional_assign(&place, is_this);
            is_right |= is_this;
        }
        match usize::try_from(right).ok().and_then(|place| keys.keys.get(place)) {
            Some(key) if bool::from(is_right) => Ok(key.client.clone()),
            _ => Err(Failure::authentication(format!("the key sent is not {what} of this server"))),
        }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.keys.read().unwrap_or_else(PoisonError::into_inner).keys.len();
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

/// The layer that turns away who has no key, or uses it too much. What is let in has its [`Client`] and [`Permit`]
/// with it.
pub(crate) async fn require(
    State(options): State<Options>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let client = options.api_keys.check(request.headers(), "an API key");
    let entered = client.and_then(|client| Ok((client.enter(options.client_limits)?, client)));
    match entered {
        Ok((permit, client)) => {
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(Arc::new(permit));
            Ok(next.run(request).await)
        }
        Err(failure) => Err(refuse(request, failure).await),
    }
}

/// The same for Anthropic's endpoints, whose clients read errors of another form.
pub(crate) async fn require_anthropic(state: State<Options>, request: Request, next: Next) -> Response {
    require(state, request, next).await.unwrap_or_else(Failure::into_anthropic)
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

    #[test]
    fn each_key_is_a_client_of_its_own_that_outlives_a_reload() {
        let keys = ApiKeys::new(vec!["first".into(), "second".into(), "first".into()]);
        let id = |key: &str| {
            let headers = [("x-api-key".parse().unwrap(), key.parse().unwrap())].into_iter().collect();
            keys.check(&headers, "a key").map(|client| client.id()).ok()
        };
        assert_eq!((id("first"), id("second")), (Some(1), Some(2)));
        keys.replace(vec!["third".into(), "second".into()]);
        assert_eq!((id("first"), id("second"), id("third")), (None, Some(2), Some(3)));
    }
}
