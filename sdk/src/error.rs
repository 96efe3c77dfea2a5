use std::fmt;

/// Why a plugin refuses a request, in words for the client: what is wrong, and what would be right.
///
/// ```
/// use minerva_plugin::Error;
///
/// let from_text: Error = "there must be a system message".into();
/// let from_error = "x".parse::<u8>().map_err(Error::new).unwrap_err();
/// assert_eq!(from_text.to_string(), "there must be a system message");
/// assert_eq!(from_error.to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error that says what something displays.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<&str> for Error {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}
