//! Whether the plugin's file can be loaded on this machine, by the headers of its format (ELF).

#![forbid(unsafe_code)]

use std::env::consts::ARCH;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::elf::Elf;

/// Machines by their number in an ELF header, with Rust's names for them.
const MACHINES: &[(u64, &str)] = &[
    (3, "x86"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
];

/// A shared library's kind in an ELF header.
const SHARED: u64 = 3;

const NO_LIBRARY: &str = "it is no shared library";

/// A program of every machine that has a C library at all.
const SHELL: &str = "/bin/sh";

/// Folders where an Alpine that can run programs for glibc has glibc's loader.
const LOADERS: [&str; 2] = ["/lib", "/lib64"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CLibrary {
    Glibc,
    Musl,
}

impl fmt::Display for CLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        })
    }
}

/// What keeps the file from being loaded; none if nothing is seen that does. Who may read it is no
/// matter of its format.
pub(crate) fn problem(path: &Path) -> Option<String> {
    let elf = match Elf::open(path) {
        Ok(Some(elf)) if elf.kind() == SHARED => elf,
        Ok(_) => return Some(NO_LIBRARY.to_owned()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => return Some(error.to_string()),
    };
    of_another_machine(elf.machine()).or_else(|| {
        let ours = c_library(&Elf::open(Path::new(SHELL)).ok()??)?;
        of_another_c_library(c_library(&elf)?, ours, has_loader_of_glibc())
    })
}

fn of_another_machine(machine: u64) -> Option<String> {
    let known = MACHINES.iter().find(|(known, _)| *known == machine);
    let name = known.map_or_else(|| format!("machine {machine}"), |(_, name)| (*name).to_owned());
    (name != ARCH).then(|| format!("it is for {name}, and this machine is {ARCH}"))
}

fn of_another_c_library(
    its: CLibrary,
    ours: CLibrary,
    has_loader_of_glibc: bool,
) -> Option<String> {
    let may_do = its == ours || (its == CLibrary::Glibc && has_loader_of_glibc);
    (!may_do).then(|| {
        format!(
            "it is for {its}, and the C library of this machine is {ours}: no broker here loads it"
        )
    })
}

/// Which C library a file is linked with; none: none, or another one.
fn c_library(elf: &Elf) -> Option<CLibrary> {
    elf.needed().ok()?.iter().find_map(|name| match name.as_str() {
        "libc.so.6" => Some(CLibrary::Glibc),
        // zig names it as musl itself does, Alpine with the machine.
        "libc.so" => Some(CLibrary::Musl),
        name if name.starts_with("libc.musl-") || name.starts_with("ld-musl-") => {
            Some(CLibrary::Musl)
        }
        _ => None,
    })
}

fn has_loader_of_glibc() -> bool {
    let entries = LOADERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.any(|name| name.starts_with("ld-linux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_for_this_machine_can_be_loaded() {
        let (number, _) = MACHINES.iter().find(|(_, name)| *name == ARCH).unwrap();
        assert_eq!(of_another_machine(*number), None);
    }

    #[test]
    fn one_for_another_machine_is_named() {
        let (number, name) = MACHINES.iter().find(|(_, name)| *name != ARCH).unwrap();
        let said = of_another_machine(*number).unwrap();
        assert_eq!(said, format!("it is for {name}, and this machine is {ARCH}"));
        assert!(of_another_machine(250).unwrap().starts_with("it is for machine 250"));
    }

    #[test]
    fn one_for_another_c_library_is_named() {
        use CLibrary::{Glibc, Musl};
        for (its, ours, has_loader_of_glibc, said) in [
            (Glibc, Glibc, true, None),
            (Musl, Musl, false, None),
            (Glibc, Musl, true, None),
            (
                Glibc,
                Musl,
                false,
                Some("it is for glibc, and the C library of this machine is musl"),
            ),
            (Musl, Glibc, true, Some("it is for musl, and the C library of this machine is glibc")),
        ] {
            let problem = of_another_c_library(its, ours, has_loader_of_glibc);
            let start = problem.as_deref().and_then(|problem| problem.split(':').next());
            assert_eq!(start, said);
        }
    }

    #[test]
    fn what_is_missing_or_no_library_is_said() {
        assert!(problem(Path::new("/does/not/exist.so")).unwrap().contains("No such file"));
        assert!(problem(Path::new("/dev/null")).unwrap().contains(NO_LIBRARY));
        assert_eq!(problem(Path::new("/etc/passwd")).unwrap(), NO_LIBRARY);
    }
}
