//! The control topic and where its responses come (`docs/control-topic.md`).

pub const TOPIC: &str = "$CONTROL/http-auth/v1";
pub const RESPONSES: &str = "$CONTROL/http-auth/v1/response";
