//! `kavach verify`: the strength of a sandbox as it was measured.

use kavach::{Sandbox, Verification};

use super::run::block_on;
use crate::cli::VerifyArgs;
use crate::error::Result;
use crate::exit_code;
use crate::json;
use crate::output;
use crate::progress::Progress;
use crate::resolve::resolve;
use crate::terminal::plain;

pub(crate) fn run(args: &VerifyArgs) -> Result<u8> {
    let resolved = resolve(&args.sandbox)?;
    let found = {
        let what = format!("probing sandboxes of `{}`", resolved.config.policy().name);
        let _progress = Progress::start(args.output, what);
        block_on(async { Ok(Sandbox::verify(resolved.config.clone()).await?) })
    };
    let found: Verification =
        found.map_err(|error| error.in_arguments(|field| resolved.argument(field)))?;
    if args.output.json {
        json::print(&json::Verify::from(&found))?;
    } else {
        let text = found.to_string();
        output::line(&plain(text.trim_end()))?;
    }
    Ok(if found.holds() {
        exit_code::OK
    } else {
        exit_code::NOT_OK
    })
}
