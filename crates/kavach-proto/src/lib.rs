//! The framed protocol between kavach and its in-sandbox agent.
#![no_std]
#![forbid(unsafe_code)]
