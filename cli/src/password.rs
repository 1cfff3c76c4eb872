//! Where the password comes from. It is never printed.

#![forbid(unsafe_code)]

use std::env;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::args;
use crate::paint::{Paint as _, WARNING};

const VARIABLE: &str = "MOSQUITTO_HTTP_AUTH_PASSWORD";

/// A password can be no longer (MQTT 5.0, section 3.1.3.6).
const LONGEST: u64 = 65_535;

/// Reads the password, and asks for it on the terminal if nothing says where it is.
pub(crate) fn read(
    args: &args::Password,
    username: Option<&str>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let password = if args.no_password {
        Vec::new().into()
    } else if let Some(path) = &args.password_file {
        let file = File::open(path).and_then(first_line);
        file.map_err(|error| format!("cannot read {}: {error}", path.display()))?
    } else if args.password.as_deref().is_some_and(|password| password == "-") {
        first_line(io::stdin().lock())
            .map_err(|error| format!("cannot read the password: {error}"))?
    } else if let Some(password) = &args.password {
        // Nobody is left to warn if this cannot be written.
        let _ = writeln!(
            anstream::stderr(),
            "{} -P shows the password to every user of this machine; -P - reads it from the \
             standard input",
            "warning:".paint(WARNING)
        );
        password.as_encoded_bytes().to_vec().into()
    } else if let Some(password) = env::var_os(VARIABLE) {
        password.into_encoded_bytes().into()
    } else if io::stdin().is_terminal() && Path::new("/dev/tty").exists() {
        let prompt = format!("Password of {}: ", username.unwrap_or("the client"));
        let password = rpassword::prompt_password(prompt)
            .map_err(|error| format!("cannot read the password: {error}"))?;
        password.into_bytes().into()
    } else {
        return Err(format!(
            "a password is needed: -P - (from the standard input), --password-file FILE, \
             {VARIABLE} in the environment, or --no-password"
        ));
    };
    Ok(up_to_nul(password))
}

fn first_line(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // The line's end may follow.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 2));
    BufReader::new(source.take(LONGEST + 2)).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(line)
}

/// Mosquitto hands over no more than this of a password.
fn up_to_nul(mut password: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let end = password.iter().position(|byte| *byte == 0).unwrap_or(password.len());
    password.truncate(end);
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_up_to_nul() {
        for (text, expected) in [
            ("", ""),
            ("abc", "abc"),
            ("abc\n", "abc"),
            ("abc\r\nd\n", "abc"),
            (" a b \n", " a b "),
            ("a\0b\n", "a"),
        ] {
            let read = up_to_nul(first_line(text.as_bytes()).unwrap());
            assert_eq!(*read, expected.as_bytes(), "{text:?}");
        }
    }
}
