//! Run untrusted code behind an isolation you choose, and know how strong it is.
#![forbid(unsafe_code)]

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the process backend will use it")
)]
pub(crate) mod cgroup;
