//! What a plugin remembers from one request to the next. A plugin that calls these functions imports the interface
//! `store`, and whoever looks at the component sees that its answers may hang on more than the request.
//!
//! All requests share it, side by side. It is gone when the plugin is taken out, and when the server ends. By default it
//! holds 1 MiB in 1,024 keys, 64 KiB in one value, and 256 bytes in a key.
//!
//! ```
//! use minerva_plugin::store;
//!
//! # fn main() -> Result<(), minerva_plugin::Error> {
//! let visits = store::add("visits", 1, None)?;
//! store::set("last", b"a fox", Some(std::time::Duration::from_secs(60)))?;
//! assert_eq!(store::get("last").as_deref(), Some(&b"a fox"[..]));
//! # assert_eq!(visits, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Natively every thread has a memory of its own, in which nothing's time is ever over.

use std::time::Duration;

use crate::{Error, backend};

/// The value of a key, if there is one and its time is not over.
#[must_use]
pub fn get(key: &str) -> Option<Vec<u8>> {
    backend::store_get(key)
}

/// Sets a key, for a time or for good.
///
/// # Errors
///
/// Where there is no room, or the key or the value is too long; then nothing is changed.
pub fn set(key: &str, value: &[u8], time: Option<Duration>) -> Result<(), Error> {
    Ok(backend::store_set(key, value, milliseconds(time))?)
}

/// Adds to the number that is a key's value (8 bytes, little-endian; 0 where there is none), and returns the sum, at
/// most what fits. No other request comes between. Sets the time as [`set`] does.
///
/// # Errors
///
/// As from [`set`], and where the value is no number.
pub fn add(key: &str, by: i64, time: Option<Duration>) -> Result<i64, Error> {
    Ok(backend::store_add(key, by, milliseconds(time))?)
}

/// Forgets a key.
pub fn remove(key: &str) {
    backend::store_remove(key);
}

/// As the interface has it, where 0 is for good.
fn milliseconds(time: Option<Duration>) -> u32 {
    time.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1))
}
