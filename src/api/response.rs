//! What of a response matters.

#![forbid(unsafe_code)]

use super::response_body::Declared;

/// What of a response matters.
#[derive(Default)]
pub(crate) struct Response {
    pub status: u16,
    /// The body, where it may say something: that of a 200, or in some API formats of every success.
    pub body: Option<Vec<u8>>,
    /// What a body begins with that decides nothing: it may hold a reason for the log.
    pub beginning: Vec<u8>,
    pub declared: Declared,
    /// All `Cache-Control` lines, joined (RFC 9110, section 5.2).
    pub(crate) cache_control: Option<Vec<u8>>,
    /// All `Age` lines, joined (RFC 9111, section 5.1).
    pub age: Option<Vec<u8>>,
}

#[cfg(any(test, fuzzing))]
impl Response {
    /// A response with this body, which claims to be JSON.
    #[must_use]
    pub(crate) fn of(status: u16, body: &[u8]) -> Self {
        let declared = Declared {
            json: true,
            first: super::response_body::MediaType::Json,
            ..Declared::default()
        };
        Self {
            status,
            body: Some(body.to_vec()),
            beginning: body.to_vec(),
            declared,
            ..Self::default()
        }
    }
}
