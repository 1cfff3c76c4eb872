//! An API for Mosquitto in axum that is asked once per session: its answer to a login says what the
//! client may do. Usage: mosquitto-api-axum [PORT]

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Answer {
    Allow {
        is_superuser: bool,
        /// What the client may do: the first rule that matches decides, and none is a no.
        acl: &'static [Rule],
        /// For so many seconds, the same login is let in without a question.
        ttl: u64,
        /// When the client is asked about again, in seconds of Unix time.
        expire_at: u64,
    },
    Deny,
}

#[derive(Serialize)]
struct Rule {
    permission: Permission,
    action: Action,
    topic: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Permission {
    Allow,
    Deny,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Publish,
    Subscribe,
}

struct User {
    name: &'static str,
    /// In plain text to keep this readable; a real API keeps hashes.
    password: &'static str,
    is_superuser: bool,
    rules: &'static [Rule],
}

const fn allow(action: Action, topic: &'static str) -> Rule {
    Rule { permission: Permission::Allow, action, topic }
}

const fn deny(action: Action, topic: &'static str) -> Rule {
    Rule { permission: Permission::Deny, action, topic }
}

/// The plugin puts the client's own names into the rules, so all devices have the same ones.
const USERS: [User; 3] = [
    User {
        name: "device",
        password: "orange",
        is_superuser: false,
        rules: &[
            allow(Action::Publish, "devices/${clientid}/up/#"),
            allow(Action::Subscribe, "devices/${clientid}/down/#"),
        ],
    },
    User {
        name: "ann",
        password: "green",
        is_superuser: false,
        rules: &[
            deny(Action::Subscribe, "devices/+/up/secret/#"),
            allow(Action::Subscribe, "devices/+/up/#"),
            allow(Action::Publish, "devices/+/down/#"),
        ],
    },
    User { name: "root", password: "black", is_superuser: true, rules: &[] },
];

async fn log_in(Json(login): Json<Login>) -> Json<Answer> {
    let user = USERS.iter().find(|user| user.name == login.username);
    Json(match user.filter(|user| user.password == login.password) {
        Some(user) => Answer::Allow {
            is_superuser: user.is_superuser,
            acl: user.rules,
            ttl: 60,
            expire_at: now() + 3600,
        },
        None => Answer::Deny,
    })
}

/// With API_TOKEN set, only those are answered who send it: http_header_Authorization Bearer …
async fn brokers_alone(
    State(token): State<Option<&'static str>>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let given = request.headers().get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    if token.is_none_or(|token| is_same(given, format!("Bearer {token}").as_bytes())) {
        return Ok(next.run(request).await);
    }
    Err(StatusCode::UNAUTHORIZED)
}

/// Takes as long wherever the two differ, so that nobody can guess a token piece by piece.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let differ = |(a, b): (&u8, &u8)| a ^ b;
    given.len() == expected.len() && given.iter().zip(expected).map(differ).fold(0, |all, one| all | one) == 0
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).unwrap_or("8000".into()).parse::<u16>()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on port {}", listener.local_addr()?.port());
    let token = std::env::var("API_TOKEN").ok().map(|token| &*token.leak());
    let routes = Router::new().route("/user", post(log_in));
    let routes = routes.layer(middleware::from_fn_with_state(token, brokers_alone));
    axum::serve(listener, routes).await?;
    Ok(())
}
