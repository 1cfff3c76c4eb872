//! What goes together with an API that was written for EMQX.

#![forbid(unsafe_code)]

use super::{ConfigError, Method, RawConfig, ResponseMode};

pub(crate) fn conclude(raw: &RawConfig) -> Result<(), ConfigError> {
    let problem = if raw.api_format.response != ResponseMode::Status {
        "http_response_mode do not go together: EMQX's answers are in one form alone"
    } else if raw.api_format.method != Method::Post {
        "http_method do not go together: EMQX's GET puts the question into the URL, where passwords get into \
         the logs of servers; allowed: POST"
    } else if raw.routes.superuser.is_some() {
        "http_superuser_route do not go together: EMQX has no such question; \"is_superuser\" in the answer \
         to the login says it"
    } else {
        return Ok(());
    };
    Err(ConfigError::overall(format!("options compat emqx and {problem}")))
}
