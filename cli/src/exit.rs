//! The command's exit statuses.

#![forbid(unsafe_code)]

/// What was asked is valid, or allowed.
pub(crate) const YES: u8 = 0;
/// There are mistakes, or it is denied.
pub(crate) const NO: u8 = 1;
/// It could not be asked: the command line is wrong, or a file is, or cannot be read.
pub(crate) const USAGE: u8 = 2;
/// The API failed, or the Redis of a fleet.
pub(crate) const FAILED: u8 = 3;
/// The plugin leaves it to the broker's other means.
pub(crate) const LEFT_TO_BROKER: u8 = 4;

/// The statuses of `fleet`, for the help.
#[macro_export]
macro_rules! fleet_statuses {
    () => {
        "  0  done, at all brokers\n  1  some broker has not applied it, or there is none\n  \
         2  a wrong command line or configuration\n  3  Redis failed\n"
    };
}

/// The statuses of a question, for the help.
#[macro_export]
macro_rules! statuses {
    () => {
        "  0  allowed\n  1  denied\n  2  a wrong command line or configuration\n  \
         3  the API failed, whatever on_error makes of it\n  \
         4  neither: it is left to the broker's other means, such as password_file\n"
    };
}
