//! Asks the kernel as another user.

#![forbid(unsafe_code)]

use std::io;
use std::thread::{self, Builder};

use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Runs `question` with the rights of this user and these groups, and with no others. Linux keeps them
/// for each thread, so that the rest of the process stays who it is.
///
/// # Errors
/// Whoever runs this command may not become another user.
pub(crate) fn as_user<T: Send>(
    uid: Uid,
    gid: Gid,
    groups: &[Gid],
    question: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let ask = || {
        set_thread_groups(groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        // Last, since with it go the rights to do the others.
        set_thread_res_uid(uid, uid, uid)?;
        Ok(question())
    };
    thread::scope(|scope| {
        let asked = Builder::new().spawn_scoped(scope, ask)?.join();
        asked.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}
