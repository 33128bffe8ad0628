//! Run untrusted code behind an isolation you choose, and know how strong it is.
#![forbid(unsafe_code)]
pub mod seccomp;
