//! Whether the broker's user can read a file. The broker leaves root's rights behind before it
//! loads its plugins, so what root sees here says little.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{User, getgrouplist};

/// A user of this machine with its groups.
pub(crate) struct Reader {
    pub(crate) name: String,
    uid: u32,
    gids: Vec<u32>,
}

const READ: u32 = 4;
const SEARCH: u32 = 1;

impl Reader {
    /// None: this machine does not know the user.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok()??;
        let groups = getgrouplist(&CString::new(name).ok()?, user.gid).unwrap_or_default();
        let gids = groups.iter().chain([&user.gid]).map(|gid| gid.as_raw()).collect();
        Some(Self { name: name.to_owned(), uid: user.uid.as_raw(), gids })
    }

    /// What keeps the user from reading a file that is there; none if nothing does, or if it cannot
    /// be told from here.
    pub(crate) fn problem(&self, path: &Path) -> Option<String> {
        let path = fs::canonicalize(path).ok()?;
        let folders = path.ancestors().skip(1).collect::<Vec<_>>();
        for folder in folders.into_iter().rev() {
            if !self.may(SEARCH, folder)? {
                return Some(format!(
                    "the user {} may not look into {}",
                    self.name,
                    folder.display()
                ));
            }
        }
        (!self.may(READ, &path)?).then(|| format!("the user {} may not read it", self.name))
    }

    /// By the mode's bits alone; none: the file's are not to be had.
    fn may(&self, what: u32, path: &Path) -> Option<bool> {
        let file = fs::metadata(path).ok()?;
        let shift = match () {
            () if self.uid == 0 => return Some(true),
            () if file.uid() == self.uid => 6,
            () if self.gids.contains(&file.gid()) => 3,
            () => 0,
        };
        Some(file.mode() >> shift & what != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn stranger() -> Reader {
        Reader { name: "stranger".into(), uid: 4_000_000, gids: vec![4_000_000] }
    }

    #[test]
    fn the_mode_decides() {
        let folder = std::env::temp_dir().join(format!("reader-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
        let own = Reader { uid: fs::metadata(&file).unwrap().uid(), ..stranger() };
        set(&folder, 0o755).unwrap();
        set(&file, 0o644).unwrap();
        assert_eq!(stranger().problem(&file), None);
        set(&file, 0o640).unwrap();
        assert!(stranger().problem(&file).unwrap().contains("stranger may not read it"));
        assert_eq!(own.problem(&file), None);
        let gids = vec![fs::metadata(&file).unwrap().gid()];
        assert_eq!(Reader { gids, ..stranger() }.problem(&file), None);
        set(&file, 0o644).unwrap();
        set(&folder, 0o700).unwrap();
        assert!(stranger().problem(&file).unwrap().contains("may not look into"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn root_reads_everything_and_an_unknown_user_is_not_there() {
        let root = Reader::named("root").unwrap();
        assert_eq!(root.problem(Path::new("/etc/shadow")), None);
        assert!(Reader::named("no-such-user-here").is_none());
    }
}
