//! PID 1 of every kavach sandbox, embedded as bytes.
