//! The subcommand `fleet`.

#![forbid(unsafe_code)]

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use crate::exit;
use crate::problem::Problem;

/// Prints a new secret.
pub fn key(out: &mut dyn Write) -> Result<u8, Problem> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| format!("the operating system gives no random bytes: {error}"))?;
    writeln!(out, "{}", BASE64.encode(bytes.as_slice()))?;
    Ok(exit::YES)
}
