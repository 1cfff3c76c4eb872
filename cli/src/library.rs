//! Whether the plugin's file can be loaded on this machine, by the header of its format (ELF).

#![forbid(unsafe_code)]

use std::env::consts::ARCH;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// Machines by their number in an ELF header, with Rust's names for them.
const MACHINES: &[(u16, &str)] = &[
    (3, "x86"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
];

/// What keeps the file from being loaded; none if nothing is seen that does. Who may read it is no
/// matter of its format.
pub(crate) fn problem(path: &Path) -> Option<String> {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read.map_err(|error| (error.kind(), error)) {
        Ok(()) => look_into(&header),
        Err((ErrorKind::PermissionDenied, _)) => None,
        Err((ErrorKind::UnexpectedEof, _)) => Some("it is no shared library".to_owned()),
        Err((_, error)) => Some(error.to_string()),
    }
}

fn look_into(header: &[u8; 20]) -> Option<String> {
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1]];
        // The sixth byte tells the order of the others.
        if header[5] == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    };
    const SHARED: u16 = 3;
    if !header.starts_with(b"\x7fELF") || number(16) != SHARED {
        return Some("it is no shared library".to_owned());
    }
    let machine = number(18);
    let known = MACHINES.iter().find(|(known, _)| *known == machine);
    let name = known.map_or_else(|| format!("machine {machine}"), |(_, name)| (*name).to_owned());
    (name != ARCH).then(|| format!("it is for {name}, and this machine is {ARCH}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, machine: u8) -> [u8; 20] {
        let mut header = [0; 20];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (header[16], header[18]) = (kind, machine);
        header
    }

    #[test]
    fn a_library_for_this_machine_can_be_loaded() {
        let (number, _) = MACHINES.iter().find(|(_, name)| *name == ARCH).unwrap();
        assert_eq!(look_into(&header(3, *number as u8)), None);
        let program = look_into(&header(2, *number as u8));
        assert_eq!(program.as_deref(), Some("it is no shared library"));
        assert_eq!(look_into(&[b'#'; 20]).as_deref(), Some("it is no shared library"));
    }

    #[test]
    fn one_for_another_machine_is_named() {
        let (number, name) = MACHINES.iter().find(|(_, name)| *name != ARCH).unwrap();
        let said = look_into(&header(3, *number as u8)).unwrap();
        assert_eq!(said, format!("it is for {name}, and this machine is {ARCH}"));
        assert!(look_into(&header(3, 250)).unwrap().starts_with("it is for machine 250"));
    }

    #[test]
    fn what_is_missing_or_no_library_is_said() {
        assert!(problem(Path::new("/does/not/exist.so")).unwrap().contains("No such file"));
        assert!(problem(Path::new("/dev/null")).unwrap().contains("no shared library"));
    }
}
