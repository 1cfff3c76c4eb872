//! Whether the broker's user can read a file. The broker leaves root's rights behind before it
//! loads its plugins, and whoever runs this command may be neither root nor that user.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::{fs, io};

use nix::unistd::{User, getgrouplist};
use rustix::fs::{Access, Gid, Uid, access};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::as_user::as_user;

/// What there is to say of whether the broker's user can read a file that is there.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// It cannot.
    Refused(String),
    /// It may well, but this command cannot: nothing is known of what the file holds.
    Unread(String),
    /// By its mode it cannot, and nobody here knows better.
    Doubt(String),
}

/// A user of this machine with its groups, the first one among them.
pub(crate) struct Reader {
    name: String,
    uid: Uid,
    gid: Gid,
    gids: Vec<Gid>,
}

const READ: u32 = 4;
const SEARCH: u32 = 1;

impl Reader {
    /// None: this machine does not know the user.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok()??;
        let groups = getgrouplist(&CString::new(name).ok()?, user.gid).ok()?;
        let gid = |gid: &nix::unistd::Gid| Gid::from_raw(gid.as_raw());
        let gids = groups.iter().map(gid).collect();
        Some(Self {
            name: name.to_owned(),
            uid: Uid::from_raw(user.uid.as_raw()),
            gid: gid(&user.gid),
            gids,
        })
    }

    /// What keeps the user from reading a file.
    ///
    /// # Errors
    /// Whoever runs this command may not find out.
    fn obstacle(&self, path: &Path) -> io::Result<Option<String>> {
        if self.uid == geteuid() {
            return Ok(obstacle(path));
        }
        as_user(self.uid, self.gid, &self.gids, || obstacle(path))
    }

    /// What the modes of a file and of the folders above it keep the user from; none if nothing, or if
    /// the modes are not to be had.
    fn obstacle_by_mode(&self, path: &Path) -> Option<String> {
        let path = fs::canonicalize(path).ok()?;
        let folders = path.ancestors().skip(1).collect::<Vec<_>>();
        for folder in folders.into_iter().rev() {
            if !self.may(SEARCH, folder)? {
                return Some(closed_folder(folder));
            }
        }
        (!self.may(READ, &path)?).then(|| CLOSED_FILE.to_owned())
    }

    fn may(&self, what: u32, path: &Path) -> Option<bool> {
        let file = fs::metadata(path).ok()?;
        let shift = match () {
            () if self.uid.is_root() => return Some(true),
            () if file.uid() == self.uid.as_raw() => 6,
            () if self.gids.contains(&Gid::from_raw(file.gid())) => 3,
            () => 0,
        };
        Some(file.mode() >> shift & what != 0)
    }
}

/// Looks at a file for the user that reads it in the broker, if this machine knows the user; none: it
/// can read the file, or there is none.
pub(crate) fn look(reader: Option<&Reader>, path: &Path) -> Option<Finding> {
    let Some(reader) = reader else {
        return obstacle(path).map(|obstacle| unread_by_all_but_reader(&obstacle));
    };
    let name = &reader.name;
    match reader.obstacle(path) {
        Ok(obstacle) => obstacle.map(|text| Finding::Refused(format!("the user {name} {text}"))),
        Err(_) => match obstacle(path) {
            Some(obstacle) => Some(unread_by_all_but_reader(&obstacle)),
            None => reader.obstacle_by_mode(path).map(|text| {
                Finding::Doubt(format!("the user {name} {text}, going by the modes of files"))
            }),
        },
    }
}

/// The same for what the broker reads before it leaves root's rights behind; none: there is nothing to
/// say, or whoever runs this command is root.
pub(crate) fn unread_by_all_but_root(path: &Path) -> Option<String> {
    obstacle(path).filter(|_| !geteuid().is_root()).map(|obstacle| unread(&obstacle, "root"))
}

fn unread_by_all_but_reader(obstacle: &str) -> Finding {
    let other = if geteuid().is_root() { "" } else { "root or as " };
    Finding::Unread(unread(obstacle, &format!("{other}the broker's user")))
}

fn unread(obstacle: &str, who_may: &str) -> String {
    let uid = nix::unistd::geteuid();
    let user = User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| format!("user {uid}"), |user| user.name);
    format!("this command runs as {user}, who {obstacle}: run it as {who_may}")
}

/// What keeps whoever runs this command from reading a file; none if nothing does, or if there is no
/// such file. The kernel says it, who knows of access control lists as well.
fn obstacle(path: &Path) -> Option<String> {
    let is_closed = |path: &Path, wanted| access(path, wanted) == Err(Errno::ACCESS);
    if !is_closed(path, Access::READ_OK) {
        return None;
    }
    let folders = path.ancestors().skip(1).filter(|folder| folder.parent().is_some());
    let closed = folders.filter(|folder| is_closed(folder, Access::EXEC_OK)).last();
    Some(closed.map_or_else(|| CLOSED_FILE.to_owned(), closed_folder))
}

const CLOSED_FILE: &str = "may not read it";

fn closed_folder(folder: &Path) -> String {
    format!("may not look into {}", folder.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn stranger() -> Reader {
        let (uid, gid) = (Uid::from_raw(4_000_000), Gid::from_raw(4_000_000));
        Reader { name: "stranger".into(), uid, gid, gids: vec![gid] }
    }

    #[test]
    fn modes_and_groups_decide() {
        let folder = std::env::temp_dir().join(format!("reader-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
        let own = Reader { uid: Uid::from_raw(fs::metadata(&file).unwrap().uid()), ..stranger() };
        set(&folder, 0o755).unwrap();
        set(&file, 0o644).unwrap();
        assert_eq!(stranger().obstacle_by_mode(&file), None);
        set(&file, 0o640).unwrap();
        assert_eq!(stranger().obstacle_by_mode(&file).unwrap(), "may not read it");
        assert_eq!(own.obstacle_by_mode(&file), None);
        let gids = vec![stranger().gid, Gid::from_raw(fs::metadata(&file).unwrap().gid())];
        let member = Reader { gids, ..stranger() };
        assert_eq!(member.obstacle_by_mode(&file), None);
        // Only root can ask the kernel for others.
        if geteuid().is_root() {
            assert_eq!(stranger().obstacle(&file).unwrap().unwrap(), "may not read it");
            assert_eq!(member.obstacle(&file).unwrap(), None);
        } else {
            assert_eq!(member.obstacle(&file).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        set(&file, 0o644).unwrap();
        set(&folder, 0o700).unwrap();
        assert!(stranger().obstacle_by_mode(&file).unwrap().starts_with("may not look into /"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn root_reads_everything_and_an_unknown_user_is_not_there() {
        let root = Reader::named("root").unwrap();
        assert_eq!(root.obstacle_by_mode(Path::new("/etc/shadow")), None);
        assert!(Reader::named("no-such-user-here").is_none());
    }
}
