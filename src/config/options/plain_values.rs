//! Values of options that need no more than a look: ports, shares, paths, names.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::config::values::number;

pub fn tcp_port(text: &str) -> Result<u16, String> {
    let port = number(text, &(1..=65535), "a TCP port");
    port.ok().and_then(|port| port.try_into().ok()).ok_or("a port from 1 to 65535".to_owned())
}

pub fn percent(text: &str) -> Result<u8, String> {
    let percent = number(text, &(0..=100), "percent")?;
    percent.try_into().map_err(|_| "0 to 100".to_owned())
}

pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path of a file".to_owned()) } else { Ok(text.into()) }
}

pub fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name")? } else { Ok(text.to_owned()) }
}
