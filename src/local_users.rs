//! The names in Mosquitto's own password file.
//!
//! The broker asks its plugins before it looks into `password_file`, so order cannot put the file
//! first. Instead the plugin reads the names in the same file and leaves those users to the broker.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::{fs, io};

/// The users that are left to Mosquitto.
pub(crate) struct LocalUsers {
    path: PathBuf,
    names: RwLock<HashSet<Vec<u8>>>,
}

impl LocalUsers {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The file cannot be read: it is missing, or the broker's user may not read it.
    pub(crate) fn read(path: PathBuf) -> io::Result<Self> {
        let names = RwLock::new(names_in(&fs::read(&path)?));
        Ok(Self { path, names })
    }

    /// Reads the file again, and returns how many names it holds now.
    ///
    /// # Errors
    /// The file cannot be read. The names that were known stay.
    pub(crate) fn reload(&self) -> io::Result<usize> {
        let names = names_in(&fs::read(&self.path)?);
        let count = names.len();
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(count)
    }

    #[must_use]
    pub(crate) fn contains(&self, username: impl AsRef<[u8]>) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.contains(username.as_ref())
    }

    #[must_use]
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

/// The names as Mosquitto reads them: the text before the first colon, blanks around it trimmed;
/// a line that begins with `#` or has no colon holds none.
fn names_in(file: &[u8]) -> HashSet<Vec<u8>> {
    file.split(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"#") && line.contains(&b':'))
        .filter_map(|line| line.split(|byte| *byte == b':').find(|part| !part.is_empty()))
        .map(|name| name.trim_ascii().to_vec())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Reads a password file for a fuzzer: a name stands in its own line, whatever the others hold.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_names(file: &[u8]) {
    let names = names_in(file);
    assert!(names.iter().map(Vec::len).sum::<usize>() <= file.len());
    for name in &names {
        assert!(!name.is_empty() && name.trim_ascii() == name.as_slice());
        assert!(!name.contains(&b':') && !name.contains(&b'\n'));
    }
    let by_line = file.split(|byte| *byte == b'\n').flat_map(names_in).collect();
    assert_eq!(names, by_line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(file: &[u8], expected: &[&str]) {
        let mut names: Vec<_> =
            names_in(file).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        names.sort();
        assert_eq!(names, expected);
    }

    #[test]
    fn names_stand_before_the_first_colon() {
        reads(b"alice:$7$101$salt$hash\nbob:$6$x:y\n", &["alice", "bob"]);
    }

    #[test]
    fn comments_blank_lines_and_lines_without_a_colon_hold_no_name() {
        reads(b"# alice:x\n\nbob\ncarol:x", &["carol"]);
    }

    #[test]
    fn blanks_and_line_ends_of_other_systems_are_trimmed() {
        reads(b" alice :x\r\nbob\t:y\r\n:\r\n", &["alice", "bob"]);
    }

    #[test]
    fn a_reload_that_fails_keeps_the_names() {
        let folder = std::env::temp_dir().join(format!("local-users-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("passwords");
        fs::write(&path, "alice:x\n").unwrap();
        let users = LocalUsers::read(path.clone()).unwrap();
        assert!(users.contains("alice") && !users.contains("bob"));
        fs::write(&path, "bob:x\ncarol:y\n").unwrap();
        assert_eq!(users.reload().unwrap(), 2);
        assert!(users.contains("bob") && !users.contains("alice"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(users.reload().is_err());
        assert!(users.contains("bob"));
    }
}
