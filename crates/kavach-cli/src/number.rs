//! Numbers of the command line: what is wrong with one is said in its own unit.

use std::str::FromStr;

/// `--memory-mb`.
pub(crate) fn mebibytes(text: &str) -> Result<u64, String> {
    whole(text, "a whole number of MiB, for instance 512")
}

/// `--output-kb`.
pub(crate) fn kibibytes(text: &str) -> Result<u64, String> {
    whole(text, "a whole number of KiB, for instance 1024")
}

/// `--pids`.
pub(crate) fn processes(text: &str) -> Result<u32, String> {
    whole(text, "a whole number, for instance 64")
}

/// `--cpus`. Whether it is in range is for the library to say.
pub(crate) fn cpus(text: &str) -> Result<f64, String> {
    // `f64::from_str` also takes "inf", "nan", "1e9" and a sign.
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = plain.then(|| text.parse().ok()).flatten();
    value.ok_or_else(|| "required: a number of CPUs, for instance 0.5 or 2".into())
}

fn whole<T: FromStr>(text: &str, required: &str) -> Result<T, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let value = digits.then(|| text.parse().ok()).flatten();
    value.ok_or_else(|| format!("required: {required}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_are_read_and_nothing_else() {
        assert_eq!(mebibytes("512"), Ok(512));
        assert_eq!(processes("0"), Ok(0));
        assert_eq!(cpus("0.5"), Ok(0.5));
        assert_eq!(cpus("2"), Ok(2.0));
        for wrong in ["", "-1", "+1", "1G", "0x10", "1_000", "٣", "4294967296"] {
            assert!(processes(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", ".", "-1", "nan", "inf", "1e3", "1.2.3"] {
            assert!(cpus(wrong).is_err(), "{wrong:?}");
        }
    }
}
