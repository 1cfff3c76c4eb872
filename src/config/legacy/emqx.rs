//! What goes together with an API that was written for EMQX.

#![forbid(unsafe_code)]

use super::{Draft, Method, Mistake, ResponseMode};

pub fn conclude(draft: &Draft) -> Result<(), Mistake> {
    let problem = if draft.dialect.response != ResponseMode::Status {
        "http_response_mode do not go together: EMQX's answers are in one form alone"
    } else if draft.dialect.method != Method::Post {
        "http_method do not go together: EMQX's GET puts the question into the URL, where passwords get into \
         the logs of servers; allowed: POST"
    } else if draft.routes.superuser.is_some() {
        "http_superuser_route do not go together: EMQX has no such question; \"is_superuser\" in the answer \
         to the login says it"
    } else {
        return Ok(());
    };
    Err(Mistake::overall(format!("options compat emqx and {problem}")))
}
