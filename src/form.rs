//! Escaping for forms (`application/x-www-form-urlencoded`).

#![forbid(unsafe_code)]

/// The bytes with everything escaped but the unreserved characters (RFC 3986, section 2.3); a blank
/// becomes what the one who reads it expects, `+` or `%20`.
#[must_use]
pub fn escaped(bytes: &[u8], blank: &str) -> String {
    // Never grown, which would leave a copy of what may be a password behind.
    let mut text = String::with_capacity(3 * bytes.len());
    for byte in bytes {
        match byte {
            b' ' => text.push_str(blank),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            _ => text.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    text
}

fn hex(digit: u8) -> char {
    char::from(if digit < 10 { b'0' + digit } else { b'A' + digit - 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(escaped("aZ09-_.~".as_bytes(), "+"), "aZ09-_.~");
        assert_eq!(escaped("a b&=+%*/é".as_bytes(), "+"), "a+b%26%3D%2B%25%2A%2F%C3%A9");
        assert_eq!(escaped(b"a b\xff", "%20"), "a%20b%FF");
    }
}
